// An INT8 copy of a model: scheme A of docs/quantisation.md, with the error of every layer.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "t2v/progress.h"
#include "t2v/request.h"

namespace t2v {

struct QuantizeProgress {
  std::string component;    // "text_encoder", "transformer", "transformer_2", "vae"
  int64_t bytes_done = 0;   // of the source, in this run
  int64_t bytes_total = 0;  // of the source, without what an earlier run has done
};

struct QuantizeOptions {
  // model_path, components, loras, ignore_extra, int8_rotation, quant_preset, num_threads and how
  // files are read count; the rest is not looked at.
  EngineOptions engine;
  std::string folder;  // where the model goes: absent, empty, or left there by a killed run
  // Called now and then, from one thread.
  std::function<void(const QuantizeProgress&)> on_progress;
};

// One linear layer. Errors are those of the weight, compared with the source (LoRA merged) in fp32.
struct QuantizedLayer {
  std::string component;
  std::string name;          // native, without ".weight"
  std::string source;        // how it was stored: "BF16", "fp8 scaled", "Q4_K"
  int64_t rows = 0;          // outputs
  int64_t columns = 0;       // inputs
  int64_t rotation = 0;      // group of columns; 0: not rotated
  double sqnr_db = 0;        // signal to quantisation noise; 999 without any noise
  double cosine = 0;         // of the two weights as vectors
  double max_error = 0;      // of one element
  int64_t bytes_before = 0;  // scales included
  int64_t bytes_after = 0;
};

struct QuantizedFile {
  std::string component;
  std::string path;           // relative to the folder
  std::string source_sha256;  // docs/quantisation.md says of what
  int64_t bytes_before = 0;   // of the source's tensors or files
  int64_t bytes_after = 0;    // of the file
};

struct QuantizeReport {
  std::string folder;
  std::vector<QuantizedLayer> layers;  // in the order of files and names
  std::vector<QuantizedFile> files;
  std::vector<std::string> loras;  // "name@expert:weight"
  int64_t rotation = 0;            // as asked
  int64_t bytes_read = 0;          // in this run
  int64_t bytes_written = 0;       // in this run
  int64_t bytes_kept = 0;          // of the source, done by earlier runs
  double seconds = 0;              // of this run
  double read_seconds = 0;         // of these, waiting for the source
};

// Reads each weight once and holds no more than a part of a block. After a crash, a kill or an
// Error{kOutput, kRemote, kCancelled} the same call goes on where it stopped. Throws Error{kUsage}
// when the folder holds something else, Error{kModel} naming tensor and row for weights that are
// not finite.
QuantizeReport quantize_model(const QuantizeOptions& options, const CancelToken& cancel);

}  // namespace t2v
