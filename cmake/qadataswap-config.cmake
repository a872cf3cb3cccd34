# find_package(qadataswap): the targets qadataswap::qadataswap (the static library, to be embedded) and
# qadataswap::shared.

include(CMakeFindDependencyMacro)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_dependency(Threads)

get_filename_component(_qadataswap_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

if(NOT TARGET qadataswap::qadataswap)
  add_library(qadataswap::qadataswap STATIC IMPORTED)
  set_target_properties(qadataswap::qadataswap PROPERTIES
    IMPORTED_LOCATION "${_qadataswap_prefix}/lib/libqadataswap.a"
    INTERFACE_INCLUDE_DIRECTORIES "${_qadataswap_prefix}/include"
    INTERFACE_LINK_LIBRARIES "gcc_s;util;rt;Threads::Threads;m;${CMAKE_DL_LIBS}")
endif()

if(NOT TARGET qadataswap::shared)
  add_library(qadataswap::shared SHARED IMPORTED)
  set_target_properties(qadataswap::shared PROPERTIES
    IMPORTED_LOCATION "${_qadataswap_prefix}/lib/libqadataswap.so"
    INTERFACE_INCLUDE_DIRECTORIES "${_qadataswap_prefix}/include")
endif()

unset(_qadataswap_prefix)
