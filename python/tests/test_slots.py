"""What a slot holds is a whole Arrow stream, which pyarrow decodes by itself: every type, and whatever was there before."""

import pyarrow as pa
import pytest

import qadataswap

TYPES = [
    pa.bool_(),
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
    *(pa.float16(), pa.float32(), pa.float64()),
    *(pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")),
    *(pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us", "UTC"), pa.timestamp("ns", "Europe/Zurich")),
    *(pa.duration("s"), pa.duration("ns"), pa.month_day_nano_interval()),
    *(pa.decimal32(7, 2), pa.decimal64(15, 2), pa.decimal128(30, 5), pa.decimal256(60, 5)),
    *(pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.binary(3), pa.binary(8)),
    # These go through arrow-ipc.
    *(pa.null(), pa.string_view(), pa.binary_view(), pa.dictionary(pa.int8(), pa.string())),
    *(pa.list_(pa.int16()), pa.struct([("x", pa.int64()), ("y", pa.string())])),
]


def array(type_, rows, nulls, seed):
    """So many rows of any type, with every third null or none."""

    def value(row):
        if nulls and row % 3 == 1 or pa.types.is_null(type_):
            return None
        number = row * 7 + seed
        if pa.types.is_boolean(type_):
            return number % 2 == 0
        if pa.types.is_fixed_size_binary(type_):
            return bytes([number % 256]) * type_.byte_width
        if pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_binary_view(type_):
            return bytes([number % 256]) * (number % 20)
        if pa.types.is_dictionary(type_):
            return "abc"[number % 3]
        if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_):
            return "é漢x"[number % 3] * (number % 20)
        if pa.types.is_list(type_):
            return [number % 100] * (number % 3)
        if pa.types.is_struct(type_):
            return {"x": number, "y": str(number)}
        if pa.types.is_interval(type_):
            return (number, number, number)
        return number % 100

    values = [value(row) for row in range(rows)]
    if pa.types.is_date64(type_):
        values = [None if value is None else 86_400_000 * value for value in values]
    if pa.types.is_decimal(type_) or pa.types.is_floating(type_):
        return pa.array(values, pa.int64()).cast(pa.float64()).cast(type_)
    return pa.array(values, type_)


def of_slot(reader):
    """What pyarrow makes of the bytes of the next message."""
    table = pa.ipc.open_stream(reader.read(0)).read_all()
    table.validate(full=True)
    return table


@pytest.mark.parametrize("type_", TYPES, ids=str)
def test_a_slot_is_a_stream_for_pyarrow(ring, type_):
    """Again and again in the same two slots, so that what the batches before have left there is used."""
    with qadataswap.create_writer(ring, 2, slot_capacity=1 << 20) as writer:
        reader = qadataswap.create_reader(ring)
        # Rooms grow, are kept, and are given up; bitmaps come and stay.
        for seed, rows in enumerate([1, 1, 1, 3, 3, 2, 100, 101, 99, 3_000, 3_000, 1, 1, 1]):
            for nulls in (False, True, False):
                # Beside a column of strings, and cut out of longer ones, by bits that do not begin with a byte.
                whole = pa.table({"one": array(type_, rows + 6, nulls, seed), "s": array(pa.string(), rows + 6, nulls, seed)})
                table = whole.slice(seed % 6, rows).combine_chunks()
                for written in (table, whole.slice(seed % 6, rows)):
                    writer.write_arrow(written)
                    found = of_slot(reader)
                    assert found.schema.equals(table.schema, check_metadata=True)
                    assert found.equals(table), (rows, nulls)
