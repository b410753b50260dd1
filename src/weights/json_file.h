// Small JSON files (configs) read with limits and typed access; messages name file and key.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "t2v/error.h"

namespace t2v::weights {

class ByteSource;

// An immutable JSON object. Getters throw Error naming file, key, got and expected.
// get_*: the key must be there; find_*: absent or null gives nullopt, a wrong type still throws.
class JsonFile {
 public:
  static constexpr int64_t kMaxBytes = 16 * 1024 * 1024;

  // Refuses files over max_bytes, nesting over 64, duplicate keys, anything but an object at the
  // top.
  static JsonFile read(const std::string& path, int64_t max_bytes = kMaxBytes,
                       ErrorKind error_kind = ErrorKind::kModel);
  static JsonFile read(const ByteSource& source, int64_t max_bytes = kMaxBytes);
  // The same for text already at hand; name is for messages.
  static JsonFile parse(std::string_view text, const std::string& name,
                        ErrorKind error_kind = ErrorKind::kModel);

  // Present, even when null.
  [[nodiscard]] bool contains(const std::string& key) const;
  // Present and not null.
  [[nodiscard]] bool has_value(const std::string& key) const;
  [[nodiscard]] std::vector<std::string> keys() const;

  // min <= value <= max; 2.0 is not an integer.
  [[nodiscard]] int64_t get_int(const std::string& key, int64_t min, int64_t max) const;
  [[nodiscard]] std::optional<int64_t> find_int(const std::string& key, int64_t min,
                                                int64_t max) const;
  // Integers are numbers too.
  [[nodiscard]] double get_double(const std::string& key, double min, double max) const;
  [[nodiscard]] std::optional<double> find_double(const std::string& key, double min,
                                                  double max) const;
  [[nodiscard]] bool get_bool(const std::string& key) const;
  [[nodiscard]] std::optional<bool> find_bool(const std::string& key) const;
  [[nodiscard]] std::string get_string(const std::string& key) const;
  [[nodiscard]] std::optional<std::string> find_string(const std::string& key) const;

  [[nodiscard]] std::vector<int64_t> get_int_list(const std::string& key, int64_t min,
                                                  int64_t max) const;
  [[nodiscard]] std::optional<std::vector<int64_t>> find_int_list(const std::string& key,
                                                                  int64_t min, int64_t max) const;
  [[nodiscard]] std::vector<double> get_double_list(const std::string& key, double min,
                                                    double max) const;
  [[nodiscard]] std::vector<bool> get_bool_list(const std::string& key) const;
  // Elements that are not strings (null) become "".
  [[nodiscard]] std::vector<std::string> get_string_list(const std::string& key) const;
  // An object whose values are all strings (weight_map).
  [[nodiscard]] std::map<std::string, std::string> get_string_map(const std::string& key) const;
  // A nested object; its keys are shown as "key.inner".
  [[nodiscard]] JsonFile get_object(const std::string& key) const;

  // The value as one line of JSON, at most 60 characters; for messages.
  [[nodiscard]] std::string shown(const std::string& key) const;
  // Throws Error{error_kind} "unusable value: '<key>' is <value>, expected <expected> (<file>)".
  [[noreturn]] void refuse(const std::string& key, const std::string& expected) const;

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] ErrorKind error_kind() const noexcept { return error_kind_; }

 private:
  struct Tree;
  JsonFile(std::shared_ptr<const Tree> tree, std::string name, std::string prefix,
           ErrorKind error_kind);

  std::shared_ptr<const Tree> tree_;
  std::string name_;
  std::string prefix_;  // of keys in messages
  ErrorKind error_kind_;
};

}  // namespace t2v::weights
