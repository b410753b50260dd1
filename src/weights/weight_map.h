// A checkpoint seen through canonical names, checked against what a model part expects.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weights/checkpoint.h"
#include "weights/key_map.h"

namespace t2v::weights {

struct ExpectedTensor {
  std::string name;            // canonical
  std::vector<int64_t> shape;  // row-major
};

struct Expectations {
  std::vector<ExpectedTensor> tensors;
  // Canonical names that start so may be there and are not read ("encoder." of a VAE that decodes).
  std::vector<std::string> ignored_prefixes;
};

// Names in messages are those in the file. Const members may be called from several threads.
class WeightMap {
 public:
  // label: the component's word in messages ("high_noise", "low_noise", "transformer",
  // "text_encoder", "vae"). Throws Error{kModel} when two tensors have one canonical name.
  WeightMap(std::shared_ptr<const Checkpoint> checkpoint, ModelPart part, std::string label);
  // Opens path (component folder or file) first.
  static WeightMap open(const std::string& path, ModelPart part, std::string label);

  // One Error{kModel} for all missing, extra and misshapen tensors: the first 10 and the count.
  void check(const Expectations& expected) const;

  [[nodiscard]] bool contains(std::string_view name) const noexcept;
  // Shape and stored dtype. Throw Error{kModel} naming the tensor when it is missing.
  [[nodiscard]] const std::vector<int64_t>& shape(std::string_view name) const;
  [[nodiscard]] c10::ScalarType dtype(std::string_view name) const;
  // Shape, with the number of dimensions checked.
  [[nodiscard]] const std::vector<int64_t>& shape(std::string_view name, size_t rank) const;
  // n of the names `<prefix>0.`, `<prefix>1.`, ... that exist without a gap ("blocks.").
  [[nodiscard]] int64_t count_blocks(std::string_view prefix) const;

  // One tensor on the CPU, contiguous, converted to dtype. Small ones (norms, biases, modulation)
  // are checked to be finite. Throws Error{kModel}; quantised sources are refused by name.
  [[nodiscard]] at::Tensor take(std::string_view name, c10::ScalarType dtype) const;
  // As take, for rows of a table (embeddings): reads only those rows.
  [[nodiscard]] at::Tensor take_rows(std::string_view name, std::span<const int64_t> rows,
                                     c10::ScalarType dtype) const;
  // Into memory that the caller owns: contiguous, same shape, any dtype.
  void take_into(std::string_view name, at::Tensor& destination) const;

  // The seam for streaming: where a tensor lies.
  [[nodiscard]] const TensorEntry& entry(std::string_view name) const;
  [[nodiscard]] const Checkpoint& checkpoint() const noexcept { return *checkpoint_; }
  [[nodiscard]] const std::string& label() const noexcept { return label_; }
  [[nodiscard]] int64_t bytes_read() const noexcept { return checkpoint_->bytes_read(); }

 private:
  struct Mapped {
    std::string canonical;
    const TensorEntry* entry;
  };
  [[nodiscard]] const TensorEntry* find(std::string_view name) const noexcept;
  // The file when there is one, else the folder.
  [[nodiscard]] const std::string& where() const noexcept;
  [[nodiscard]] std::string name_in_file(std::string_view canonical) const;
  [[nodiscard]] const TensorEntry& convertible(std::string_view name) const;
  void require_finite(const TensorEntry& entry, const at::Tensor& tensor) const;

  std::shared_ptr<const Checkpoint> checkpoint_;
  ModelPart part_;
  std::string label_;
  bool framework_names_ = false;  // which style the file uses; decides names of missing tensors
  std::vector<Mapped> tensors_;   // sorted by canonical name
};

}  // namespace t2v::weights
