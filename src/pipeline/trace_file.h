// Writes a Chrome trace (JSON, for Perfetto or chrome://tracing): our spans and Kineto's on one
// time axis.
#pragma once

#include <string>

#include "core/trace.h"
#include "pipeline/kineto.h"

namespace t2v::pipeline {

// Appears whole or not at all. Throws Error{kOutput}.
void write_trace_file(const std::string& path, const core::TraceRecord& own,
                      const KinetoRecord& kineto);

}  // namespace t2v::pipeline
