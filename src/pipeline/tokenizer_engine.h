// An engine that has a tokenizer and nothing else: `t2v tokenize --tokenizer FILE`.
#pragma once

#include <memory>
#include <string>

#include "t2v/engine.h"

namespace t2v::pipeline {

// Everything but tokenize() throws Error{kUsage}. Throws Error{kModel} for a broken file.
std::unique_ptr<Engine> open_tokenizer_engine(const std::string& tokenizer_path);

}  // namespace t2v::pipeline
