// LoRA files: low-rank and full deltas of a transformer's weights, in every naming style
// (specs: distilled, section 3).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "weights/storage.h"
#include "weights/weight_source.h"

namespace t2v::weights {

class LoraNames;

struct LoraFile {
  std::string path;
  double strength = 1.0;
};

// The names and shapes that deltas may go to.
struct LoraTarget {
  std::string name;  // canonical, with its ending (".weight", ".bias", or none: modulation)
  std::vector<int64_t> shape;  // row-major
};

enum class LoraExpert { kBoth, kHighNoise, kLowNoise };

struct LoraOptions {
  // Whose deltas are wanted; kBoth: the model has one transformer. Decides about files that hold
  // both experts ("transformer." and "transformer_2.").
  LoraExpert expert = LoraExpert::kBoth;
  bool lenient = false;  // what does not fit is left out with a warning
};

// The deltas of one expert. Factors are read when opened and stay in memory as stored (16-bit or
// fp32). Const members may be called from several threads.
class LoraSet {
 public:
  // Throws one Error{kModel} per file that lists all offenders (first 10 and the count): unmatched
  // names, shapes that do not fit, A without B. Unsupported kinds (DoRA, LoKr, LoHa) are refused by
  // name, also when lenient. Files of strength 0 are checked and then count for nothing.
  static LoraSet open(const Storage& storage, const std::vector<LoraFile>& files,
                      const std::vector<LoraTarget>& targets, LoraOptions options = {});

  [[nodiscard]] bool contains(std::string_view name) const noexcept;
  // Whether it has a full delta of that name, not (only) factors.
  [[nodiscard]] bool is_full(std::string_view name) const noexcept;
  // Sum over all files of strength * (alpha/r) * up * down, plus full deltas: fp32, in the target's
  // shape, on the CPU. Only for names that it contains.
  [[nodiscard]] at::Tensor delta(std::string_view name) const;
  // The same as two factors, all files side by side: down [sum r, in], up [out, sum r]. Empty for
  // names that it does not contain. Throws Error{kModel} for a full delta, which has no factors.
  [[nodiscard]] std::optional<SideBranch> branch(std::string_view name) const;

  [[nodiscard]] bool empty() const noexcept { return entries_.empty(); }
  [[nodiscard]] int64_t num_deltas() const noexcept;  // names
  [[nodiscard]] int64_t bytes() const noexcept;       // held in memory
  [[nodiscard]] int64_t bytes_read() const noexcept { return bytes_read_; }
  [[nodiscard]] const std::vector<std::string>& warnings() const noexcept { return warnings_; }

 private:
  struct Part {
    at::Tensor down, up;  // as stored, [r, in] and [out, r]; undefined for a full delta
    at::Tensor full;      // as stored; undefined for factors
    double scale = 1.0;   // strength * alpha / r, or strength
    size_t file = 0;
  };
  struct Entry {
    std::vector<int64_t> shape;
    std::vector<Part> parts;
  };
  [[nodiscard]] const Entry* find(std::string_view name) const noexcept;
  void add_file(const Storage& storage, const LoraFile& file, const LoraNames& names,
                LoraOptions options);

  std::map<std::string, Entry, std::less<>> entries_;
  std::vector<std::string> paths_;  // of the files, for messages
  std::vector<std::string> warnings_;
  int64_t bytes_read_ = 0;
};

// Which expert a file without a qualifier belongs to, by "high_noise" or "low_noise" in its path
// (the last of them counts; case and hyphens do not).
LoraExpert lora_expert_of(const std::string& path);

}  // namespace t2v::weights
