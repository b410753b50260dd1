#include "weights/gguf_values.h"

#include <algorithm>
#include <array>
#include <bit>
#include <string_view>

#include "core/check.h"
#include "core/escape.h"
#include "weights/tensor_entry.h"

namespace t2v::weights {
namespace {

constexpr uint64_t kMaxKeyBytes = 65535;
constexpr uint64_t kMaxTextBytes = 1 << 20;  // longer strings are summarised
constexpr uint64_t kMaxShownElements = 16;
constexpr uint64_t kMaxAlignment = 1 << 20;
constexpr std::string_view kShapePrefix = "comfy.gguf.orig_shape.";

enum class ValueType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};

struct TypeFacts {
  const char* name;
  uint64_t bytes;  // of one value; the least for strings and arrays
};

constexpr std::array<TypeFacts, 13> kTypes{{{"U8", 1},
                                            {"I8", 1},
                                            {"U16", 2},
                                            {"I16", 2},
                                            {"U32", 4},
                                            {"I32", 4},
                                            {"F32", 4},
                                            {"BOOL", 1},
                                            {"STRING", 8},
                                            {"ARRAY", 12},
                                            {"U64", 8},
                                            {"I64", 8},
                                            {"F64", 8}}};

const TypeFacts& facts(ValueType type) { return kTypes[static_cast<size_t>(type)]; }

std::string shown(const std::string& key) {
  return core::str("key '", core::escape_control(key, 200), "'");
}

ValueType take_type(SourceCursor& cursor, const std::string& key) {
  const uint32_t type = cursor.take_u32();
  if (type >= kTypes.size()) cursor.refuse(core::str(shown(key), " is of unknown type ", type));
  return static_cast<ValueType>(type);
}

std::string take_string(SourceCursor& cursor) {
  const uint64_t size = cursor.take_u64();
  if (size <= kMaxTextBytes) return cursor.take_bytes(size);
  cursor.skip(size);
  return core::str("[", size, " bytes]");
}

std::string take_bool(SourceCursor& cursor, const std::string& key) {
  const uint8_t value = cursor.take_u8();
  if (value > 1)
    cursor.refuse(core::str(shown(key), " is ", int{value}, ", expected a truth value"));
  return value == 1 ? "true" : "false";
}

// Any type but an array.
std::string take_scalar(SourceCursor& cursor, ValueType type, const std::string& key) {
  switch (type) {
    case ValueType::kU8:
      return std::to_string(cursor.take_u8());
    case ValueType::kI8:
      return std::to_string(static_cast<int8_t>(cursor.take_u8()));
    case ValueType::kU16:
      return std::to_string(cursor.take_u16());
    case ValueType::kI16:
      return std::to_string(static_cast<int16_t>(cursor.take_u16()));
    case ValueType::kU32:
      return std::to_string(cursor.take_u32());
    case ValueType::kI32:
      return std::to_string(static_cast<int32_t>(cursor.take_u32()));
    case ValueType::kF32:
      return core::str(std::bit_cast<float>(cursor.take_u32()));
    case ValueType::kBool:
      return take_bool(cursor, key);
    case ValueType::kString:
      return take_string(cursor);
    case ValueType::kU64:
      return std::to_string(cursor.take_u64());
    case ValueType::kI64:
      return std::to_string(static_cast<int64_t>(cursor.take_u64()));
    case ValueType::kF64:
      return core::str(std::bit_cast<double>(cursor.take_u64()));
    case ValueType::kArray:
      break;
  }
  cursor.refuse(core::str(shown(key), " is an array of arrays"));
}

std::string take_array(SourceCursor& cursor, const std::string& key) {
  const ValueType type = take_type(cursor, key);
  const uint64_t count = cursor.take_u64();
  if (count > static_cast<uint64_t>(std::max<int64_t>(cursor.left(), 0)) / facts(type).bytes) {
    cursor.refuse(core::str(shown(key), " claims ", count, " elements, more than the file holds"));
  }
  const bool short_array = count <= kMaxShownElements && type != ValueType::kString;
  if (!short_array && type != ValueType::kString && type != ValueType::kArray) {
    cursor.skip(count * facts(type).bytes);
  } else if (type == ValueType::kString) {
    for (uint64_t i = 0; i < count; ++i) cursor.skip(cursor.take_u64());
  } else {
    std::string text = "[";
    for (uint64_t i = 0; i < count; ++i) {
      if (i > 0) text += ", ";
      text += take_scalar(cursor, type, key);
    }
    return text + "]";
  }
  return core::str("[", facts(type).name, " x ", count, "]");
}

std::vector<int64_t> take_shape(SourceCursor& cursor, const std::string& key) {
  const ValueType type = take_type(cursor, key);
  const uint64_t count = cursor.take_u64();
  const bool fits = type == ValueType::kI32 || type == ValueType::kU32 || type == ValueType::kI64 ||
                    type == ValueType::kU64;
  if (!fits || count > 8) {
    cursor.refuse(core::str(shown(key), " is ", facts(type).name, " x ", count,
                            ", expected at most 8 integers"));
  }
  const bool wide = facts(type).bytes == 8;
  std::vector<int64_t> shape;
  for (uint64_t i = 0; i < count; ++i) {
    const int64_t extent = wide                      ? static_cast<int64_t>(cursor.take_u64())
                           : type == ValueType::kU32 ? int64_t{cursor.take_u32()}
                                                     : static_cast<int32_t>(cursor.take_u32());
    if (extent < 0) cursor.refuse(core::str(shown(key), " holds ", extent));
    shape.push_back(extent);
  }
  return shape;
}

void take_alignment(SourceCursor& cursor, ValueType type, GgufValues& values) {
  const uint64_t alignment = type == ValueType::kU32 ? cursor.take_u32() : 0;
  if (!std::has_single_bit(alignment) || alignment > kMaxAlignment) {
    cursor.refuse(core::str("key 'general.alignment' is ", facts(type).name, " ", alignment,
                            ", expected U32, a power of two, at most ", kMaxAlignment));
  }
  values.alignment = static_cast<int64_t>(alignment);
}

}  // namespace

std::string take_gguf_name(SourceCursor& cursor, uint64_t max_bytes, const char* what) {
  const uint64_t size = cursor.take_u64();
  if (size == 0 || size > max_bytes)
    cursor.refuse(core::str(what, " has a name of ", size, " bytes, expected 1 to ", max_bytes));
  std::string name = cursor.take_bytes(size);
  if (has_control_bytes(name)) {
    cursor.refuse(
        core::str(what, " has control bytes in its name '", core::escape_control(name, 200), "'"));
  }
  return name;
}

GgufValues read_gguf_values(SourceCursor& cursor, uint64_t count) {
  GgufValues values;
  for (uint64_t i = 0; i < count; ++i) {
    const std::string key = take_gguf_name(cursor, kMaxKeyBytes, "a key");
    const ValueType type = take_type(cursor, key);
    std::string text;
    if (type == ValueType::kArray && key.starts_with(kShapePrefix)) {
      values.original_shapes[key.substr(kShapePrefix.size())] = take_shape(cursor, key);
      continue;
    }
    if (key == "general.alignment") {
      take_alignment(cursor, type, values);
      text = std::to_string(values.alignment);
    } else {
      text = type == ValueType::kArray ? take_array(cursor, key) : take_scalar(cursor, type, key);
    }
    if (!values.text.emplace(key, std::move(text)).second)
      cursor.refuse(shown(key) + " is there twice");
  }
  return values;
}

}  // namespace t2v::weights
