// Where the parts of a quantised model lie, and what has to be so before the first byte is written.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pipeline/model.h"
#include "pipeline/quantize_journal.h"
#include "t2v/request.h"

namespace t2v::pipeline {

// A file that goes over as it is.
struct CopiedFile {
  std::string component;  // "vae"; "" for configs and the tokenizer
  std::string from;       // path in the source
  std::string to;         // relative to the folder
};

// A small file that is made.
struct MadeFile {
  std::string to;
  std::string text;
};

// A diffusers folder stays one; everything else gets the original Wan layout.
struct TargetLayout {
  std::string transformer, transformer_2, text_encoder;  // files; "" = there is none
  std::vector<CopiedFile> copies;                        // in this order
  std::vector<MadeFile> made;
  // Written last: without it the folder is no model. "" where an incomplete one is known anyway.
  CopiedFile index;
};

TargetLayout plan_layout(const Model& model);

// Everything that the result depends on, for the journal.
QuantizeJob describe_job(const Model& model, const EngineOptions& options);

// Throws Error{kUsage} when the folder is the model's own, lies in it or holds other files;
// Error{kOutput} when it cannot be made, written to, or has less than `bytes` of space.
// Makes the folder.
void prepare_folder(const std::string& folder, const Model& model);
void require_space(const std::string& folder, int64_t bytes);

}  // namespace t2v::pipeline
