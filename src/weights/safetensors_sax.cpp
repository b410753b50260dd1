#include "weights/safetensors_sax.h"

#include <algorithm>
#include <limits>

#include "core/check.h"
#include "core/escape.h"

namespace t2v::weights {
namespace {

constexpr size_t kMaxRank = 16;
constexpr auto kMaxInt = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());

}  // namespace

bool SafetensorsSax::fail(const std::string& reason) {
  if (reason_.empty()) reason_ = reason;
  return false;
}

bool SafetensorsSax::unexpected(const std::string& what) {
  const std::string shown = core::escape_control(what, 80);
  if (place_ == Place::kOutside) return fail("is not an object");
  if (place_ == Place::kMetadata) return fail("has metadata that is not a string: " + shown);
  return fail(core::str("has ", shown, " in the entry of tensor '",
                        core::escape_control(top_key_, 200), "'"));
}

bool SafetensorsSax::number_unsigned(number_unsigned_t value) {
  if (place_ == Place::kShape && value <= kMaxInt && tensor_.shape.size() < kMaxRank) {
    tensor_.shape.push_back(static_cast<int64_t>(value));
    return true;
  }
  if (place_ == Place::kOffsets && value <= kMaxInt && num_offsets_ < 2) {
    offsets_[num_offsets_++] = static_cast<int64_t>(value);
    return true;
  }
  return unexpected(std::to_string(value));
}

bool SafetensorsSax::number_float(number_float_t /*value*/, const string_t& text) {
  return unexpected(text);
}

bool SafetensorsSax::string(string_t& value) {
  if (place_ == Place::kMetadata) {
    const bool added = header_.metadata.emplace(metadata_key_, std::move(value)).second;
    return added || fail("has metadata '" + core::escape_control(metadata_key_, 200) + "' twice");
  }
  if (place_ != Place::kTensor || field_ != Field::kDtype) return unexpected('"' + value + '"');
  tensor_.dtype = safetensors_dtype(value);
  if (tensor_.dtype != c10::ScalarType::Undefined) return true;
  return fail(core::str("has unknown dtype '", core::escape_control(value, 80), "' for tensor '",
                        core::escape_control(top_key_, 200), "'"));
}

bool SafetensorsSax::binary(binary_t& /*value*/) { return unexpected("binary"); }

bool SafetensorsSax::start_object(std::size_t /*elements*/) {
  if (place_ == Place::kOutside) {
    place_ = Place::kTop;
    return true;
  }
  if (place_ != Place::kTop) return unexpected("an object");
  if (top_key_ == "__metadata__") {
    if (!header_.metadata.empty()) return fail("has __metadata__ twice");
    place_ = Place::kMetadata;
    return true;
  }
  place_ = Place::kTensor;
  field_ = Field::kNone;
  tensor_ = TensorEntry{};
  num_offsets_ = 0;
  has_dtype_ = has_shape_ = has_offsets_ = false;
  return true;
}

bool SafetensorsSax::key(string_t& value) {
  if (place_ == Place::kMetadata) {
    metadata_key_ = std::move(value);
    return true;
  }
  if (place_ == Place::kTensor) return tensor_key(value);
  top_key_ = std::move(value);
  if (top_key_.empty()) return fail("has a tensor without a name");
  if (!has_control_bytes(top_key_)) return true;
  return fail(core::str("has control bytes in the name of tensor '",
                        core::escape_control(top_key_, 200), "'"));
}

bool SafetensorsSax::tensor_key(const std::string& name) {
  field_ = name == "dtype"          ? Field::kDtype
           : name == "shape"        ? Field::kShape
           : name == "data_offsets" ? Field::kOffsets
                                    : Field::kNone;
  bool* seen = field_ == Field::kDtype   ? &has_dtype_
               : field_ == Field::kShape ? &has_shape_
                                         : &has_offsets_;
  if (field_ == Field::kNone || *seen) {
    return fail(core::str("has ", field_ == Field::kNone ? "unknown" : "duplicate", " key '",
                          core::escape_control(name, 80), "' in the entry of tensor '",
                          core::escape_control(top_key_, 200), "'"));
  }
  *seen = true;
  return true;
}

bool SafetensorsSax::finish_tensor() {
  const char* missing = !has_dtype_     ? "dtype"
                        : !has_shape_   ? "shape"
                        : !has_offsets_ ? "data_offsets"
                                        : nullptr;
  const std::string shown = core::escape_control(top_key_, 200);
  if (missing != nullptr) return fail(core::str("has no ", missing, " for tensor '", shown, "'"));
  if (tensor_.dtype == c10::ScalarType::Undefined)
    return fail(core::str("has no dtype for tensor '", shown, "'"));
  const int64_t limit = std::numeric_limits<int64_t>::max() - data_start_;
  if (num_offsets_ != 2 || offsets_[0] > offsets_[1] || offsets_[1] > limit) {
    return fail(core::str("has impossible data_offsets for tensor '", shown, "'"));
  }
  tensor_.name = std::move(top_key_);
  tensor_.offset = data_start_ + offsets_[0];
  tensor_.bytes = offsets_[1] - offsets_[0];
  header_.tensors.push_back(std::move(tensor_));
  return true;
}

bool SafetensorsSax::end_object() {
  if (place_ == Place::kTensor) {
    place_ = Place::kTop;
    return finish_tensor();
  }
  place_ = place_ == Place::kMetadata ? Place::kTop : Place::kOutside;
  return true;
}

bool SafetensorsSax::start_array(std::size_t /*elements*/) {
  if (place_ == Place::kTensor && field_ == Field::kShape) {
    place_ = Place::kShape;
  } else if (place_ == Place::kTensor && field_ == Field::kOffsets) {
    place_ = Place::kOffsets;
  } else {
    return unexpected("an array");
  }
  return true;
}

bool SafetensorsSax::end_array() {
  place_ = Place::kTensor;
  field_ = Field::kNone;
  return true;
}

bool SafetensorsSax::parse_error(std::size_t position, const std::string& /*last_token*/,
                                 const nlohmann::json::exception& /*error*/) {
  return fail(core::str("is not valid JSON at byte ", position));
}

}  // namespace t2v::weights
