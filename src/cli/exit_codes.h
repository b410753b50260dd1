// What the program returns to its caller, and the words of kinds of errors in reports.
#pragma once

#include "t2v/error.h"

namespace t2v::cli {

inline constexpr int kBatchFailures = 9;  // a batch that is done, with failures in it
inline constexpr int kUnfitMachine = 1;   // of t2v doctor

// As in docs/cli.md; of kCancelled: 128 and the signal that came.
int exit_code(ErrorKind kind) noexcept;

// "usage", "model" ... for results.jsonl.
const char* error_kind_name(ErrorKind kind) noexcept;

}  // namespace t2v::cli
