// A checkpoint seen through canonical names, checked against what a model part expects.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "weights/checkpoint.h"
#include "weights/key_map.h"
#include "weights/lora.h"
#include "weights/quant_scheme.h"
#include "weights/stored_tensor.h"
#include "weights/weight_source.h"

namespace t2v::weights {

struct ExpectedTensor {
  std::string name;            // canonical
  std::vector<int64_t> shape;  // row-major
};

struct Expectations {
  std::vector<ExpectedTensor> tensors;
  // Canonical names that start so may be there and are not read ("encoder." of a VAE that decodes).
  std::vector<std::string> ignored_prefixes;
  bool ignore_extra = false;  // other tensors are no error
  std::string looks_like;     // what this checkpoint seems to be, for the message; ""
};

// Names in messages are those in the file. Const members may be called from several threads.
class WeightMap final : public WeightSource {
 public:
  // label: the component's word in messages ("high_noise", "low_noise", "transformer",
  // "text_encoder", "vae"). Throws Error{kModel} when two tensors have one canonical name, or when
  // quantised weights and their scales do not fit together.
  WeightMap(std::shared_ptr<const Checkpoint> checkpoint, ModelPart part, std::string label);
  // Opens path (component folder or file) first.
  static WeightMap open(const std::string& path, ModelPart part, std::string label);

  // The deltas that take() adds from now on. Names and shapes were checked when they were opened.
  void attach(std::shared_ptr<const LoraSet> loras) { loras_ = std::move(loras); }

  // One Error{kModel} for all missing, extra and misshapen tensors: the first 10 and the count.
  void check(const Expectations& expected) const;

  [[nodiscard]] bool contains(std::string_view name) const noexcept;
  // n of the names `<prefix>0.`, `<prefix>1.`, ... that exist without a gap ("blocks.").
  [[nodiscard]] int64_t count_blocks(std::string_view prefix) const;
  // Canonical names and shapes of all tensors, sorted.
  [[nodiscard]] std::vector<ExpectedTensor> tensors() const;
  // How the weights are stored, for people: "BF16", "fp8 scaled + BF16".
  [[nodiscard]] const std::string& summary() const noexcept { return schemes_->summary; }

  using WeightSource::shape;
  [[nodiscard]] const std::vector<int64_t>& shape(std::string_view name) const override;
  [[nodiscard]] const std::vector<int64_t>& shape(std::string_view name,
                                                  size_t rank) const override;
  [[nodiscard]] at::Tensor take(std::string_view name, c10::ScalarType dtype) const override;
  [[nodiscard]] at::Tensor borrow(std::string_view name, c10::ScalarType dtype) const override {
    return take(name, dtype);
  }
  void take_into(std::string_view name, at::Tensor& destination) const override;
  [[nodiscard]] std::optional<SideBranch> side_branch(std::string_view name) const override;
  [[nodiscard]] c10::ScalarType float_type(std::string_view name) const override;
  [[nodiscard]] std::optional<int64_t> int8_rotation(std::string_view name) const override;
  [[nodiscard]] Int8Rows take_int8(std::string_view name, int64_t rotation) const override;
  // Rows of a table (embeddings): reads only those rows.
  [[nodiscard]] at::Tensor take_rows(std::string_view name, std::span<const int64_t> rows,
                                     c10::ScalarType dtype) const;

  // The seam for streaming: what is stored for the tensors whose canonical names start so, scales
  // included; and the conversion of bytes that the caller has read.
  using NamedEntry = std::pair<std::string, const TensorEntry*>;
  [[nodiscard]] std::vector<NamedEntry> entries(std::string_view prefix) const;
  // The bytes of an entry as a contiguous CPU tensor: its dtype and shape, or uint8 [bytes].
  using ReadEntry = std::function<at::Tensor(const TensorEntry&)>;
  [[nodiscard]] at::Tensor convert(std::string_view name, c10::ScalarType dtype,
                                   const ReadEntry& read) const;
  void convert_into(std::string_view name, at::Tensor& destination, const ReadEntry& read) const;
  [[nodiscard]] Int8Rows convert_int8(std::string_view name, int64_t rotation,
                                      const ReadEntry& read) const;

  // The seam for work on a few rows at a time (`t2v quantize`). How a tensor is stored:
  struct Storage {
    const TensorEntry* entry;
    const QuantisedLinear* scheme;  // null: plainly, or as GGML blocks
  };
  [[nodiscard]] Storage storage_of(std::string_view name) const;
  // Rows [begin, begin + shape[0]) of a tensor whose bytes the caller has read, ready to be
  // expanded; begin is a multiple of 128 where scales stand for blocks. scale: the whole one, or
  // undefined.
  [[nodiscard]] StoredTensor stored_rows(std::string_view name, int64_t begin, int64_t count,
                                         const at::Tensor& bytes, const at::Tensor& scale) const;
  // Throws Error{kModel} naming the tensor and the row.
  [[noreturn]] void refuse_row(std::string_view name, int64_t row) const;

  [[nodiscard]] const Checkpoint& checkpoint() const noexcept { return *checkpoint_; }
  [[nodiscard]] const std::string& label() const noexcept { return label_; }
  [[nodiscard]] int64_t bytes_read() const noexcept { return checkpoint_->bytes_read(); }

 private:
  struct Mapped {
    std::string canonical;
    const TensorEntry* entry;
    const QuantisedLinear* scheme;  // null: stored plainly
    [[nodiscard]] bool is_quantised() const noexcept {
      return scheme != nullptr || entry->encoding != Encoding::kPlain;
    }
  };
  [[nodiscard]] const Mapped* find(std::string_view name) const noexcept;
  // Throws Error{kModel} naming the tensor when it is missing.
  [[nodiscard]] const Mapped& mapped(std::string_view name) const;
  // The same, when it can be had as floats.
  [[nodiscard]] const Mapped& convertible(std::string_view name) const;
  [[nodiscard]] bool has_delta(const Mapped& mapped) const;
  [[nodiscard]] StoredTensor stored(const Mapped& mapped, const ReadEntry& read) const;
  [[nodiscard]] at::Tensor load(const TensorEntry& entry) const;
  // The file when there is one, else the folder.
  [[nodiscard]] const std::string& where() const noexcept;
  [[nodiscard]] std::string name_in_file(std::string_view canonical) const;
  void require_finite(const TensorEntry& entry, const at::Tensor& tensor) const;

  std::shared_ptr<const Checkpoint> checkpoint_;
  ModelPart part_;
  std::string label_;
  std::shared_ptr<const SchemeTable> schemes_;
  std::shared_ptr<const LoraSet> loras_;
  std::shared_ptr<const KeyMap> keys_;
  std::vector<Mapped> tensors_;  // sorted by canonical name
};

}  // namespace t2v::weights
