// What a finished video tells to people: what was asked, what came of it, where time and memory
// went.
#pragma once

#include <string>

#include "t2v/engine.h"

namespace t2v::cli {

// Lines for standard error: recipe (without the prompt), times, peak memory, file. asked: the flags
// that it comes from, "" for none.
std::string summary_text(const Report& report, const std::string& output,
                         const std::string& asked = "");

// One line of a batch. title: "video 3 of 50".
std::string done_line(const std::string& title, const Report& report, const std::string& output);

// "228 MiB", with a GPU "1200 MiB, 30000 MiB on the device".
std::string memory_words(const Report& report);

}  // namespace t2v::cli
