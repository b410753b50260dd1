#include "cli/exit_codes.h"

#include "cli/signals.h"

namespace t2v::cli {

int exit_code(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::kInternal:
      return 1;
    case ErrorKind::kUsage:
      return 2;
    case ErrorKind::kModel:
      return 3;
    case ErrorKind::kInput:
      return 4;
    case ErrorKind::kOutput:
      return 5;
    case ErrorKind::kOutOfMemory:
      return 6;
    case ErrorKind::kDevice:
      return 7;
    case ErrorKind::kRemote:
      return 8;
    case ErrorKind::kTimeout:
      return kBatchFailures;
    case ErrorKind::kNumeric:
      return 10;
    case ErrorKind::kCancelled:
      return 128 + (caught_signal() != 0 ? caught_signal() : 2);
  }
  return 1;
}

const char* error_kind_name(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::kInternal:
      return "internal";
    case ErrorKind::kUsage:
      return "usage";
    case ErrorKind::kModel:
      return "model";
    case ErrorKind::kInput:
      return "input";
    case ErrorKind::kOutput:
      return "output";
    case ErrorKind::kOutOfMemory:
      return "out_of_memory";
    case ErrorKind::kDevice:
      return "device";
    case ErrorKind::kRemote:
      return "remote";
    case ErrorKind::kTimeout:
      return "timeout";
    case ErrorKind::kNumeric:
      return "numeric";
    case ErrorKind::kCancelled:
      return "cancelled";
  }
  return "internal";
}

}  // namespace t2v::cli
