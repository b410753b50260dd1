// The host of one video that is made once more in safer numbers.
#pragma once

#include "core/check.h"
#include "t2v/batch.h"
#include "t2v/engine.h"

namespace t2v::pipeline {

class RetryHost final : public BatchHost {
 public:
  RetryHost(BatchHost& host, size_t item, const Error& first)
      : host_(host), item_(item), first_(first) {}
  void on_begin(size_t) override { host_.on_begin(item_); }
  FrameSink* open_sink(size_t) override { return host_.open_sink(item_); }
  void on_done(size_t, const Report& report) override {
    Report told = report;
    told.retried = core::str(first_.what(), "; made once more in fp32 with composed attention");
    host_.on_done(item_, told);
  }
  // Told is what failed first: it decides what to try, and the exit code.
  AfterFailure on_failed(size_t, const Error& error) override {
    const bool is_users = error.kind() == ErrorKind::kCancelled ||
                          error.kind() == ErrorKind::kTimeout || error.kind() == ErrorKind::kOutput;
    after = host_.on_failed(
        item_, is_users
                   ? error
                   : Error(first_.kind(), core::str(first_.what(), "; once more in fp32 ",
                                                    "with composed attention: ", error.what())));
    return AfterFailure::kGoOn;
  }
  AfterFailure after = AfterFailure::kGoOn;

 private:
  BatchHost& host_;
  size_t item_;
  const Error& first_;
};

}  // namespace t2v::pipeline
