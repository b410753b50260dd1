// The grammar of a safetensors header, as callbacks of a JSON parser. Used by safetensors.cpp only.
#pragma once

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "weights/safetensors.h"

namespace t2v::weights {

// Depth is at most 3 by construction: { name: { dtype, shape: [], data_offsets: [] } }. A callback
// that returns false ends the parse; reason() then says why ("has no ...").
class SafetensorsSax final : public nlohmann::json_sax<nlohmann::json> {
 public:
  // data_start: of the tensor data, from the start of the file.
  SafetensorsSax(ContainerHeader& header, int64_t data_start)
      : header_(header), data_start_(data_start) {}
  [[nodiscard]] const std::string& reason() const noexcept { return reason_; }

  bool null() override { return unexpected("null"); }
  bool boolean(bool value) override { return unexpected(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return unexpected(std::to_string(value)); }
  bool number_unsigned(number_unsigned_t value) override;
  bool number_float(number_float_t value, const string_t& text) override;
  bool string(string_t& value) override;
  bool binary(binary_t& value) override;
  bool start_object(std::size_t elements) override;
  bool key(string_t& value) override;
  bool end_object() override;
  bool start_array(std::size_t elements) override;
  bool end_array() override;
  bool parse_error(std::size_t position, const std::string& last_token,
                   const nlohmann::json::exception& error) override;

 private:
  enum class Place { kOutside, kTop, kMetadata, kTensor, kShape, kOffsets };
  enum class Field { kNone, kDtype, kShape, kOffsets };

  bool fail(const std::string& reason);
  bool unexpected(const std::string& what);
  bool tensor_key(const std::string& name);
  bool finish_tensor();

  ContainerHeader& header_;
  int64_t data_start_;
  std::string reason_;
  Place place_ = Place::kOutside;
  std::string top_key_;
  std::string metadata_key_;
  Field field_ = Field::kNone;
  TensorEntry tensor_;
  std::array<int64_t, 2> offsets_{};
  size_t num_offsets_ = 0;
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
};

}  // namespace t2v::weights
