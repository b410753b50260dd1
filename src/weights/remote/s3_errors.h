// What a failed call of Arrow's S3 file system means.
#pragma once

#include <arrow/filesystem/s3fs.h>
#include <arrow/status.h>

#include "weights/remote_store.h"

namespace t2v::weights::remote {

// Retries are remote_storage's, with one deadline for all of them. Remembers for the calling thread
// what the store's client said about the last failure.
class NoRetries final : public arrow::fs::S3RetryStrategy {
 public:
  bool ShouldRetry(const AWSErrorDetail& error, int64_t attempted_retries) override;
  int64_t CalculateDelayBeforeNextRetry(const AWSErrorDetail& error,
                                        int64_t attempted_retries) override;
};

// Of a status that is not OK, on the thread that made the call.
RemoteAnswer answer_of(const arrow::Status& status);

}  // namespace t2v::weights::remote
