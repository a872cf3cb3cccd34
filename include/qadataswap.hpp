// qadataswap for C++17: owners of the handles in qadataswap.h, typed messages, and errors as exceptions.
//
// Every operation comes in two forms. `try_...` gives a qads::Status and never throws; the other throws qads::Error,
// and is there if the compiler has exceptions. Define QADATASWAP_NO_EXCEPTIONS to leave it out.
//
//     qads::Writer writer("ticks");
//     writer.write_value(Tick{4725.25, 3});
//
//     qads::Reader reader("ticks");
//     while (auto tick = reader.read_value<Tick>(std::chrono::seconds(5))) use(*tick);
//
// Time limits are durations: zero does not wait, qads::forever does. Objects can be moved but not copied, and each is
// for one thread at a time. Messages of type T are its bytes: both sides must have the same layout.

#ifndef QADATASWAP_HPP
#define QADATASWAP_HPP

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "qadataswap.h"

#if !defined(QADATASWAP_NO_EXCEPTIONS) && !defined(__cpp_exceptions)
#define QADATASWAP_NO_EXCEPTIONS
#endif
#ifndef QADATASWAP_NO_EXCEPTIONS
#include <stdexcept>
#include <string>
#endif

namespace qads {

/// What a call gave: one of the codes of qadataswap.h.
class [[nodiscard]] Status {
public:
    constexpr Status(int code) noexcept : code_(code) {}
    constexpr int code() const noexcept { return code_; }
    constexpr bool ok() const noexcept { return code_ == QADS_OK; }
    constexpr explicit operator bool() const noexcept { return ok(); }
    /// Whether the time was up.
    constexpr bool timed_out() const noexcept { return code_ == QADS_TIMEOUT; }
    /// What went wrong; to be asked before the next call of this thread fails.
    static const char* text() noexcept { return qads_last_error(); }

    friend constexpr bool operator==(Status a, Status b) noexcept { return a.code_ == b.code_; }
    friend constexpr bool operator!=(Status a, Status b) noexcept { return a.code_ != b.code_; }

private:
    int code_;
};

#ifndef QADATASWAP_NO_EXCEPTIONS
/// What the throwing form of a call throws.
class Error : public std::runtime_error {
public:
    explicit Error(Status status) : std::runtime_error(qads_last_error()), status_(status) {}
    Status status() const noexcept { return status_; }
    int code() const noexcept { return status_.code(); }

private:
    Status status_;
};
#endif

using Timeout = std::chrono::milliseconds;

/// Waits until there is a message.
inline constexpr Timeout forever = Timeout::max();

namespace detail {

constexpr std::uint64_t milliseconds(Timeout timeout) noexcept {
    if (timeout == forever) return UINT64_MAX;
    return timeout.count() < 0 ? 0 : static_cast<std::uint64_t>(timeout.count());
}

#ifndef QADATASWAP_NO_EXCEPTIONS
inline void check(Status status) {
    if (!status.ok()) throw Error(status);
}

/// False if the time was up.
inline bool check_read(Status status) {
    if (status.timed_out()) return false;
    check(status);
    return true;
}
#endif

/// A handle that is destroyed with its owner.
template <class T, void (*Destroy)(T*)>
class Owned {
public:
    Owned() noexcept = default;
    Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
    Owned& operator=(Owned&& other) noexcept {
        if (this != &other) {
            Destroy(handle_);
            handle_ = std::exchange(other.handle_, nullptr);
        }
        return *this;
    }
    Owned(const Owned&) = delete;
    Owned& operator=(const Owned&) = delete;
    ~Owned() { Destroy(handle_); }

    T* get() const noexcept { return handle_; }
    void reset(T* handle = nullptr) noexcept {
        Destroy(handle_);
        handle_ = handle;
    }

private:
    T* handle_ = nullptr;
};

template <class T>
inline constexpr bool is_message =
    std::is_trivially_copyable_v<T> && !std::is_pointer_v<T> && !std::is_reference_v<T>;

}  // namespace detail

/// qads_writer_options with the usual values.
struct WriterOptions : qads_writer_options {
    WriterOptions() noexcept : qads_writer_options{} {
        static_cast<void>(qads_writer_options_init(this, sizeof(qads_writer_options)));
    }
};

/// qads_reader_options with the usual values.
struct ReaderOptions : qads_reader_options {
    ReaderOptions() noexcept : qads_reader_options{} {
        static_cast<void>(qads_reader_options_init(this, sizeof(qads_reader_options)));
    }
};

/// A message read in place. The bytes do not change while it lives; the writer goes round the slot.
class Lease {
public:
    Lease() noexcept = default;

    const std::byte* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    const std::byte* begin() const noexcept { return data_; }
    const std::byte* end() const noexcept { return data_ + size_; }
    explicit operator bool() const noexcept { return handle_.get() != nullptr; }

    /// Position of the message in the ring; 0 of an empty lease.
    std::uint64_t position() const noexcept {
        std::uint64_t position = 0;
        static_cast<void>(qads_lease_position(handle_.get(), &position));
        return position;
    }

    /// The message as a value in place; null if it has another size, or T needs more than the 8 bytes of alignment
    /// that messages have.
    template <class T>
    const T* as() const noexcept {
        static_assert(detail::is_message<T>, "a message is trivially copyable and no pointer");
        if (size_ != sizeof(T) || reinterpret_cast<std::uintptr_t>(data_) % alignof(T) != 0) return nullptr;
        return reinterpret_cast<const T*>(data_);
    }

    /// Lets the writer have the slot again.
    void release() noexcept {
        handle_.reset();
        data_ = nullptr;
        size_ = 0;
    }

    Lease(Lease&& other) noexcept
        : handle_(std::move(other.handle_)),
          data_(std::exchange(other.data_, nullptr)),
          size_(std::exchange(other.size_, 0)) {}
    Lease& operator=(Lease&& other) noexcept {
        handle_ = std::move(other.handle_);
        data_ = std::exchange(other.data_, nullptr);
        size_ = std::exchange(other.size_, 0);
        return *this;
    }

private:
    friend class Reader;
    detail::Owned<qads_lease, qads_lease_release> handle_;
    const std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

/// A slot open for writing in place; publishes nothing unless told to. It must not outlive its writer, which can do
/// nothing else meanwhile.
class Reservation {
public:
    Reservation() noexcept = default;
    Reservation(Reservation&& other) noexcept
        : writer_(std::exchange(other.writer_, nullptr)), data_(other.data_), capacity_(other.capacity_) {}
    Reservation& operator=(Reservation&& other) noexcept {
        if (this != &other) {
            abandon();
            writer_ = std::exchange(other.writer_, nullptr);
            data_ = other.data_;
            capacity_ = other.capacity_;
        }
        return *this;
    }
    Reservation(const Reservation&) = delete;
    Reservation& operator=(const Reservation&) = delete;
    ~Reservation() { abandon(); }

    /// Where to put the message; aligned to 8. Write only.
    std::byte* data() const noexcept { return data_; }
    std::size_t capacity() const noexcept { return capacity_; }

    /// Publishes the first `size` bytes.
    Status try_publish(std::size_t size) noexcept {
        const Status status = qads_writer_publish(writer_, size);
        if (status.ok()) writer_ = nullptr;
        return status;
    }

    void abandon() noexcept {
        if (writer_ != nullptr) static_cast<void>(qads_writer_abandon(std::exchange(writer_, nullptr)));
    }

#ifndef QADATASWAP_NO_EXCEPTIONS
    void publish(std::size_t size) { detail::check(try_publish(size)); }
#endif

private:
    friend class Writer;
    qads_writer* writer_ = nullptr;
    std::byte* data_ = nullptr;
    std::size_t capacity_ = 0;
};

/// The writer of a ring. The ring outlives it, unless unlink() is called.
class Writer {
public:
    /// No writer yet.
    Writer() noexcept = default;

    /// Creates the ring, or takes it over if its writer is gone.
    Status try_create(const char* name, const WriterOptions& options = WriterOptions()) noexcept {
        qads_writer* made = nullptr;
        const Status status = qads_writer_create(name, &options, &made);
        if (status.ok()) handle_.reset(made);
        return status;
    }
    Status try_write(const void* data, std::size_t size) noexcept {
        return qads_writer_write(handle_.get(), data, size);
    }
    template <class T>
    Status try_write_value(const T& value) noexcept {
        static_assert(detail::is_message<T>, "a message is trivially copyable and no pointer");
        return qads_writer_write(handle_.get(), &value, sizeof(T));
    }
    /// Publishes bytes that already are an Arrow IPC stream.
    Status try_write_ipc(const void* stream, std::size_t size) noexcept {
        return qads_writer_write_ipc(handle_.get(), stream, size);
    }
    /// Opens the next slot for a message of up to `size` bytes.
    Status try_reserve(std::size_t size, Reservation& reservation) noexcept {
        void* data = nullptr;
        const Status status = qads_writer_reserve(handle_.get(), size, &data);
        if (status.ok()) {
            Reservation made;
            made.writer_ = handle_.get();
            made.data_ = static_cast<std::byte*>(data);
            made.capacity_ = size;
            reservation = std::move(made);
        }
        return status;
    }
    Status try_write_arrow(const ArrowArray* array, const ArrowSchema* schema) noexcept {
        return qads_write_arrow(handle_.get(), array, schema);
    }
    Status try_write_arrow(ArrowArrayStream* stream) noexcept {
        return qads_write_arrow_stream(handle_.get(), stream);
    }
    Status try_stats(qads_writer_stats& stats) const noexcept {
        stats.struct_size = sizeof(stats);
        return qads_writer_get_stats(handle_.get(), &stats);
    }
    /// Ends the ring; its memory stays.
    Status try_close() noexcept { return qads_writer_close(handle_.get()); }
    /// Ends the ring and removes its memory.
    Status try_unlink() noexcept { return qads_writer_unlink(handle_.get()); }

    qads_writer* get() const noexcept { return handle_.get(); }
    explicit operator bool() const noexcept { return handle_.get() != nullptr; }

#ifndef QADATASWAP_NO_EXCEPTIONS
    explicit Writer(const char* name, const WriterOptions& options = WriterOptions()) {
        detail::check(try_create(name, options));
    }
    explicit Writer(const std::string& name, const WriterOptions& options = WriterOptions())
        : Writer(name.c_str(), options) {}
    void write(const void* data, std::size_t size) { detail::check(try_write(data, size)); }
    template <class T>
    void write_value(const T& value) {
        detail::check(try_write_value(value));
    }
    void write_ipc(const void* stream, std::size_t size) { detail::check(try_write_ipc(stream, size)); }
    [[nodiscard]] Reservation reserve(std::size_t size) {
        Reservation reservation;
        detail::check(try_reserve(size, reservation));
        return reservation;
    }
    void write_arrow(const ArrowArray* array, const ArrowSchema* schema) {
        detail::check(try_write_arrow(array, schema));
    }
    void write_arrow(ArrowArrayStream* stream) { detail::check(try_write_arrow(stream)); }
    [[nodiscard]] qads_writer_stats stats() const {
        qads_writer_stats stats{};
        detail::check(try_stats(stats));
        return stats;
    }
    void close() { detail::check(try_close()); }
    void unlink() { detail::check(try_unlink()); }
#endif

private:
    detail::Owned<qads_writer, qads_writer_destroy> handle_;
};

/// A reader of a ring.
class Reader {
public:
    /// No reader yet.
    Reader() noexcept = default;

    /// Attaches to the ring, waiting for it as the options say.
    Status try_attach(const char* name, const ReaderOptions& options = ReaderOptions()) noexcept {
        qads_reader* made = nullptr;
        const Status status = qads_reader_attach(name, &options, &made);
        if (status.ok()) handle_.reset(made);
        return status;
    }
    /// Reads into a buffer. QADS_MEMORY if it is too small: `size` is then what is needed.
    Status try_read(void* buffer, std::size_t buffer_size, std::size_t& size, Timeout timeout) noexcept {
        return qads_reader_read(handle_.get(), buffer, buffer_size, &size, detail::milliseconds(timeout));
    }
    /// Reads a message that is a T; one of another size stays unconsumed (QADS_SIZE_MISMATCH).
    template <class T>
    Status try_read_value(T& value, Timeout timeout) noexcept {
        static_assert(detail::is_message<T>, "a message is trivially copyable and no pointer");
        return qads_reader_read_exact(handle_.get(), &value, sizeof(T), detail::milliseconds(timeout));
    }
    Status try_lease(Lease& lease, Timeout timeout) noexcept {
        qads_lease* handle = nullptr;
        const void* data = nullptr;
        std::size_t size = 0;
        const Status status =
            qads_reader_lease(handle_.get(), detail::milliseconds(timeout), &handle, &data, &size);
        if (status.ok()) {
            lease.handle_.reset(handle);
            lease.data_ = static_cast<const std::byte*>(data);
            lease.size_ = size;
        }
        return status;
    }
    /// Passes over a message; QADS_TIMEOUT if there is none.
    Status try_skip() noexcept { return qads_reader_skip(handle_.get()); }
    Status try_read_arrow(ArrowArray* array, ArrowSchema* schema, Timeout timeout,
                          std::uint32_t flags = 0) noexcept {
        return qads_read_arrow(handle_.get(), array, schema, detail::milliseconds(timeout), flags);
    }
    Status try_read_arrow(ArrowArrayStream* stream, Timeout timeout, std::uint32_t flags = 0) noexcept {
        return qads_read_arrow_stream(handle_.get(), stream, detail::milliseconds(timeout), flags);
    }
    Status try_rejoin(std::uint64_t& lost) noexcept { return qads_reader_rejoin(handle_.get(), &lost); }
    Status try_stats(qads_reader_stats& stats) const noexcept {
        stats.struct_size = sizeof(stats);
        return qads_reader_get_stats(handle_.get(), &stats);
    }

    qads_reader* get() const noexcept { return handle_.get(); }
    explicit operator bool() const noexcept { return handle_.get() != nullptr; }

#ifndef QADATASWAP_NO_EXCEPTIONS
    explicit Reader(const char* name, const ReaderOptions& options = ReaderOptions()) {
        detail::check(try_attach(name, options));
    }
    explicit Reader(const std::string& name, const ReaderOptions& options = ReaderOptions())
        : Reader(name.c_str(), options) {}
    /// Reads into `message`, which gets the message's size and keeps its memory for the next. False if none came.
    bool read(std::vector<std::byte>& message, Timeout timeout) {
        // What it grows by is filled with zeros first: not with as many as once were needed.
        constexpr std::size_t few = 4096;
        message.resize(std::min(message.capacity(), std::max(message.size(), few)));
        std::size_t size = 0;
        Status status = try_read(message.data(), message.size(), size, timeout);
        while (status.code() == QADS_MEMORY && size > message.size()) {
            message.resize(size);
            status = try_read(message.data(), message.size(), size, timeout);
        }
        message.resize(status.ok() ? size : 0);
        return detail::check_read(status);
    }
    /// Reads a message that is a T; nothing if none came.
    template <class T>
    std::optional<T> read_value(Timeout timeout) {
        T value;
        if (!detail::check_read(try_read_value(value, timeout))) return std::nullopt;
        return value;
    }
    /// Reads a message in place; nothing if none came.
    std::optional<Lease> lease(Timeout timeout) {
        Lease lease;
        if (!detail::check_read(try_lease(lease, timeout))) return std::nullopt;
        return lease;
    }
    bool skip() { return detail::check_read(try_skip()); }
    /// False if none came; else both are yours to release.
    bool read_arrow(ArrowArray* array, ArrowSchema* schema, Timeout timeout, std::uint32_t flags = 0) {
        return detail::check_read(try_read_arrow(array, schema, timeout, flags));
    }
    bool read_arrow(ArrowArrayStream* stream, Timeout timeout, std::uint32_t flags = 0) {
        return detail::check_read(try_read_arrow(stream, timeout, flags));
    }
    std::uint64_t rejoin() {
        std::uint64_t lost = 0;
        detail::check(try_rejoin(lost));
        return lost;
    }
    [[nodiscard]] qads_reader_stats stats() const {
        qads_reader_stats stats{};
        detail::check(try_stats(stats));
        return stats;
    }
#endif

private:
    detail::Owned<qads_reader, qads_reader_destroy> handle_;
};

}  // namespace qads

#endif  // QADATASWAP_HPP
