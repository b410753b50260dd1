#include "weights/json_file.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "core/check.h"
#include "core/escape.h"
#include "weights/byte_source.h"

namespace t2v::weights {

using nlohmann::json;

struct JsonFile::Tree {
  json value;
};

namespace {

constexpr size_t kMaxDepth = 64;

// Builds a tree while it refuses what the plain parser lets pass: deep nesting and duplicate keys.
class TreeBuilder final : public nlohmann::json_sax<json> {
 public:
  explicit TreeBuilder(json& root) : root_(root) {}
  [[nodiscard]] const std::string& reason() const noexcept { return reason_; }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t& /*text*/) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t& /*value*/) override { return fail("holds binary"); }
  bool start_object(std::size_t /*elements*/) override { return open(json::object()); }
  bool start_array(std::size_t /*elements*/) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& value) override {
    if (stack_.back()->contains(value))
      return fail("duplicate key '" + core::escape_control(value, 100) + "'");
    key_ = std::move(value);
    return true;
  }
  bool parse_error(std::size_t position, const std::string& /*last_token*/,
                   const json::exception& /*error*/) override {
    return fail(core::str("not valid JSON at byte ", position));
  }

 private:
  bool fail(const std::string& reason) {
    if (reason_.empty()) reason_ = reason;
    return false;
  }

  json* place(json value) {
    if (stack_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    return &(parent[key_] = std::move(value));
  }

  bool add(json value) {
    place(std::move(value));
    return true;
  }

  bool open(json container) {
    if (stack_.size() >= kMaxDepth) return fail(core::str("nested deeper than ", kMaxDepth));
    stack_.push_back(place(std::move(container)));
    return true;
  }

  bool close() {
    stack_.pop_back();
    return true;
  }

  json& root_;
  std::vector<json*>
      stack_;  // a container is complete before its siblings move, so these stay valid
  std::string key_;
  std::string reason_;
};

std::string shown_value(const json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array() && value.size() > 8) return core::str("a list of ", value.size());
  const std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  return core::escape_control(text, 60);
}

// Any number as int64; nullopt for fractions, other types and values out of [min, max].
std::optional<int64_t> as_int(const json& value, int64_t min, int64_t max) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() &&
      value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return std::nullopt;
  }
  const auto number = value.get<int64_t>();
  return number < min || number > max ? std::nullopt : std::optional(number);
}

std::optional<double> as_double(const json& value, double min, double max) {
  if (!value.is_number()) return std::nullopt;
  const auto number = value.get<double>();
  return number >= min && number <= max ? std::optional(number) : std::nullopt;
}

std::string integer_range(int64_t min, int64_t max) {
  if (max == std::numeric_limits<int64_t>::max()) return core::str("an integer of at least ", min);
  return core::str("an integer from ", min, " to ", max);
}

}  // namespace

JsonFile::JsonFile(std::shared_ptr<const Tree> tree, std::string name, std::string prefix,
                   ErrorKind error_kind)
    : tree_(std::move(tree)),
      name_(std::move(name)),
      prefix_(std::move(prefix)),
      error_kind_(error_kind) {}

JsonFile JsonFile::read(const std::string& path, int64_t max_bytes, ErrorKind error_kind) {
  return parse(read_whole_file(path, max_bytes, error_kind), path, error_kind);
}

JsonFile JsonFile::read(const ByteSource& source, int64_t max_bytes) {
  T2V_REQUIRE(source.size() <= max_bytes, source.error_kind(), "broken JSON file: it has ",
              source.size(), " bytes, at most ", max_bytes, " are expected (", source.name(), ")");
  std::string text(static_cast<size_t>(source.size()), '\0');
  source.read(0, std::as_writable_bytes(std::span(text.data(), text.size())));
  return parse(text, source.name(), source.error_kind());
}

JsonFile JsonFile::parse(std::string_view text, const std::string& name, ErrorKind error_kind) {
  T2V_REQUIRE(!text.empty(), error_kind, "broken JSON file: it is empty (", name, ")");
  // The parser takes NUL for the end of its input: what follows would go unseen.
  T2V_REQUIRE(text.find('\0') == std::string_view::npos, error_kind,
              "broken JSON file: it holds a NUL byte (", name, ")");
  auto tree = std::make_shared<Tree>();
  TreeBuilder builder(tree->value);
  const bool parsed = json::sax_parse(text.begin(), text.end(), &builder);
  T2V_REQUIRE(parsed, error_kind, "broken JSON file: ", builder.reason(), " (", name, ")");
  T2V_REQUIRE(tree->value.is_object(), error_kind, "broken JSON file: it is ",
              shown_value(tree->value), ", expected an object (", name, ")");
  return JsonFile(std::move(tree), name, "", error_kind);
}

bool JsonFile::contains(const std::string& key) const { return tree_->value.contains(key); }

std::vector<std::string> JsonFile::keys() const {
  std::vector<std::string> keys;
  for (const auto& item : tree_->value.items()) keys.push_back(item.key());
  return keys;
}

std::string JsonFile::shown(const std::string& key) const {
  const auto found = tree_->value.find(key);
  return found == tree_->value.end() ? "missing" : shown_value(*found);
}

void JsonFile::refuse(const std::string& key, const std::string& expected) const {
  throw Error(error_kind_,
              core::str("unusable value: '", prefix_, core::escape_control(key, 100), "' is ",
                        shown(key), ", expected ", expected, " (", name_, ")"));
}

int64_t JsonFile::get_int(const std::string& key, int64_t min, int64_t max) const {
  const auto found = tree_->value.find(key);
  const auto number = found == tree_->value.end() ? std::nullopt : as_int(*found, min, max);
  if (!number) refuse(key, integer_range(min, max));
  return *number;
}

double JsonFile::get_double(const std::string& key, double min, double max) const {
  const auto found = tree_->value.find(key);
  const auto number = found == tree_->value.end() ? std::nullopt : as_double(*found, min, max);
  if (!number) refuse(key, core::str("a number from ", min, " to ", max));
  return *number;
}

bool JsonFile::get_bool(const std::string& key) const {
  const auto found = tree_->value.find(key);
  if (found == tree_->value.end() || !found->is_boolean()) refuse(key, "true or false");
  return found->get<bool>();
}

std::string JsonFile::get_string(const std::string& key) const {
  const auto found = tree_->value.find(key);
  if (found == tree_->value.end() || !found->is_string()) refuse(key, "a string");
  return found->get<std::string>();
}

bool JsonFile::has_value(const std::string& key) const {
  const auto found = tree_->value.find(key);
  return found != tree_->value.end() && !found->is_null();
}

std::optional<int64_t> JsonFile::find_int(const std::string& key, int64_t min, int64_t max) const {
  return has_value(key) ? std::optional(get_int(key, min, max)) : std::nullopt;
}

std::optional<double> JsonFile::find_double(const std::string& key, double min, double max) const {
  return has_value(key) ? std::optional(get_double(key, min, max)) : std::nullopt;
}

std::optional<bool> JsonFile::find_bool(const std::string& key) const {
  return has_value(key) ? std::optional(get_bool(key)) : std::nullopt;
}

std::optional<std::string> JsonFile::find_string(const std::string& key) const {
  return has_value(key) ? std::optional(get_string(key)) : std::nullopt;
}

std::vector<int64_t> JsonFile::get_int_list(const std::string& key, int64_t min,
                                            int64_t max) const {
  std::vector<int64_t> list;
  const auto found = tree_->value.find(key);
  if (found == tree_->value.end() || !found->is_array()) refuse(key, "a list of integers");
  for (const json& element : *found) {
    const auto number = as_int(element, min, max);
    if (!number) refuse(key, "a list where each element is " + integer_range(min, max));
    list.push_back(*number);
  }
  return list;
}

std::optional<std::vector<int64_t>> JsonFile::find_int_list(const std::string& key, int64_t min,
                                                            int64_t max) const {
  return has_value(key) ? std::optional(get_int_list(key, min, max)) : std::nullopt;
}

std::vector<double> JsonFile::get_double_list(const std::string& key, double min,
                                              double max) const {
  std::vector<double> list;
  const auto found = tree_->value.find(key);
  if (found == tree_->value.end() || !found->is_array()) refuse(key, "a list of numbers");
  for (const json& element : *found) {
    const auto number = as_double(element, min, max);
    if (!number)
      refuse(key, core::str("a list where each element is a number from ", min, " to ", max));
    list.push_back(*number);
  }
  return list;
}

std::vector<bool> JsonFile::get_bool_list(const std::string& key) const {
  std::vector<bool> list;
  const auto found = tree_->value.find(key);
  if (found == tree_->value.end() || !found->is_array()) refuse(key, "a list of true and false");
  for (const json& element : *found) {
    if (!element.is_boolean()) refuse(key, "a list of true and false");
    list.push_back(element.get<bool>());
  }
  return list;
}

std::vector<std::string> JsonFile::get_string_list(const std::string& key) const {
  std::vector<std::string> list;
  const auto found = tree_->value.find(key);
  if (found == tree_->value.end() || !found->is_array()) refuse(key, "a list of strings");
  for (const json& element : *found)
    list.push_back(element.is_string() ? element.get<std::string>() : "");
  return list;
}

std::map<std::string, std::string> JsonFile::get_string_map(const std::string& key) const {
  std::map<std::string, std::string> map;
  const auto found = tree_->value.find(key);
  if (found == tree_->value.end() || !found->is_object()) refuse(key, "an object of strings");
  for (const auto& item : found->items()) {
    T2V_REQUIRE(item.value().is_string(), error_kind_, "unusable value: '", prefix_,
                core::escape_control(key, 100), ".", core::escape_control(item.key(), 100), "' is ",
                shown_value(item.value()), ", expected a string (", name_, ")");
    map.emplace_hint(map.end(), item.key(), item.value().get<std::string>());
  }
  return map;
}

JsonFile JsonFile::get_object(const std::string& key) const {
  const auto found = tree_->value.find(key);
  if (found == tree_->value.end() || !found->is_object()) refuse(key, "an object");
  auto tree = std::make_shared<Tree>();
  tree->value = *found;
  return JsonFile(std::move(tree), name_, core::str(prefix_, core::escape_control(key, 100), "."),
                  error_kind_);
}

}  // namespace t2v::weights
