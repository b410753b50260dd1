// GGUF files, ZIP archives and pickles put together byte by byte, right or wrong.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace t2v::test {

// Little-endian bytes of a number.
template <typename Number>
std::string le(Number value) {
  std::string bytes;
  auto bits = static_cast<uint64_t>(value);
  for (size_t i = 0; i < sizeof(Number); ++i, bits >>= 8) bytes += static_cast<char>(bits & 0xff);
  return bytes;
}

// ---- GGUF

inline std::string gguf_string(std::string_view text) {
  return le<uint64_t>(text.size()) + std::string(text);
}

// One key with a value that is already encoded.
inline std::string gguf_pair(std::string_view key, uint32_t type, const std::string& value) {
  return gguf_string(key) + le(type) + value;
}

struct GgufTensor {
  std::string name;
  std::vector<uint64_t> dims;  // fastest first
  uint32_t type = 0;
  uint64_t offset = 0;  // from the start of the data
};

struct GgufFile {
  uint32_t version = 3;
  std::vector<std::string> pairs;
  std::vector<GgufTensor> tensors;
  std::string body;
  uint64_t alignment = 32;
  uint64_t num_tensors = UINT64_MAX;  // UINT64_MAX: as many as there are
  uint64_t num_pairs = UINT64_MAX;

  [[nodiscard]] std::string header() const {
    std::string file = "GGUF" + le(version);
    file += le<uint64_t>(num_tensors == UINT64_MAX ? tensors.size() : num_tensors);
    file += le<uint64_t>(num_pairs == UINT64_MAX ? pairs.size() : num_pairs);
    for (const std::string& pair : pairs) file += pair;
    for (const GgufTensor& tensor : tensors) {
      file += gguf_string(tensor.name) + le<uint32_t>(static_cast<uint32_t>(tensor.dims.size()));
      for (const uint64_t dim : tensor.dims) file += le(dim);
      file += le(tensor.type) + le(tensor.offset);
    }
    return file;
  }
  [[nodiscard]] std::string bytes() const {
    std::string file = header();
    file.append((alignment - file.size() % alignment) % alignment, '\0');
    return file + body;
  }
};

// ---- ZIP

inline uint32_t crc32_of(std::string_view content) {
  uint32_t sum = 0xffffffff;
  for (const char c : content) {
    sum ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) sum = sum >> 1 ^ ((sum & 1U) != 0 ? 0xedb88320U : 0U);
  }
  return ~sum;
}

struct ZipEntry {
  std::string name;
  std::string content;
  uint16_t method = 0;
  uint16_t flags = 0;
  std::string directory_name = {};  // "" : the same name
};

struct ZipFile {
  std::vector<ZipEntry> entries;
  bool wide = false;          // ZIP64 records and fields
  bool sizes_follow = false;  // checksums and sizes behind the contents
  size_t alignment = 1;       // of contents, by extra fields as torch writes them

  [[nodiscard]] std::string bytes() const {
    std::string file;
    std::string directory;
    for (const ZipEntry& entry : entries) {
      const size_t offset = file.size();
      const auto size = static_cast<uint32_t>(entry.content.size());
      const std::string sums =
          le(crc32_of(entry.content)) + le(wide ? UINT32_MAX : size) + le(wide ? UINT32_MAX : size);
      std::string extra;
      if (wide)
        extra = le<uint16_t>(1) + le<uint16_t>(16) + le<uint64_t>(size) + le<uint64_t>(size);
      const size_t start = offset + 30 + entry.name.size() + extra.size() + 4;
      const size_t padding = (alignment - start % alignment) % alignment;
      if (alignment > 1)
        extra += "FB" + le<uint16_t>(static_cast<uint16_t>(padding)) + std::string(padding, 'Z');
      const bool follows = sizes_follow && size > 0;  // torch.save writes none for empty ones
      const auto flags = static_cast<uint16_t>(entry.flags | (follows ? 8 : 0));
      const std::string common = le(flags) + le(entry.method) + le<uint32_t>(0);
      file += "PK\3\4" + le<uint16_t>(20) + common + (follows ? std::string(12, '\0') : sums) +
              le<uint16_t>(static_cast<uint16_t>(entry.name.size())) +
              le<uint16_t>(static_cast<uint16_t>(extra.size())) + entry.name + extra +
              entry.content;
      if (follows) {
        const std::string both =
            wide ? le<uint64_t>(size) + le<uint64_t>(size) : le(size) + le(size);
        file += "PK\7\x08" + le(crc32_of(entry.content)) + both;
      }
      const std::string& name = entry.directory_name.empty() ? entry.name : entry.directory_name;
      std::string wide_fields;
      if (wide) {
        wide_fields = le<uint16_t>(1) + le<uint16_t>(24) + le<uint64_t>(size) + le<uint64_t>(size) +
                      le<uint64_t>(offset);
      }
      directory += "PK\1\2" + le<uint32_t>(20) + common + sums +
                   le<uint16_t>(static_cast<uint16_t>(name.size())) +
                   le<uint16_t>(static_cast<uint16_t>(wide_fields.size())) +
                   std::string(2 + 2 + 2 + 4, '\0') +
                   le(wide ? UINT32_MAX : static_cast<uint32_t>(offset)) + name + wide_fields;
    }
    return file + directory + end_records(file.size(), directory.size());
  }

 private:
  [[nodiscard]] std::string end_records(size_t offset, size_t size) const {
    const uint64_t count = entries.size();
    std::string end;
    if (wide) {
      end = "PK\6\6" + le<uint64_t>(44) + le<uint32_t>(20) + le<uint32_t>(0) + le<uint32_t>(0) +
            le(count) + le(count) + le<uint64_t>(size) + le<uint64_t>(offset);
      end += "PK\6\7" + le<uint32_t>(0) + le<uint64_t>(offset + size) + le<uint32_t>(1);
    }
    const auto short_count = static_cast<uint16_t>(wide ? 0xffff : count);
    return end + "PK\5\6" + le<uint32_t>(0) + le(short_count) + le(short_count) +
           le(wide ? UINT32_MAX : static_cast<uint32_t>(size)) +
           le(wide ? UINT32_MAX : static_cast<uint32_t>(offset)) + le<uint16_t>(0);
  }
};

// ---- pickles of protocol 2, without a memo

inline std::string pickle_text(std::string_view text) {
  return "X" + le<uint32_t>(static_cast<uint32_t>(text.size())) + std::string(text);
}

inline std::string pickle_int(int64_t value) {
  if (value >= 0 && value < 256) return "K" + le<uint8_t>(static_cast<uint8_t>(value));
  if (value >= INT32_MIN && value <= INT32_MAX)
    return "J" + le<int32_t>(static_cast<int32_t>(value));
  return std::string("\x8a\x08", 2) + le(value);
}

inline std::string pickle_tuple(const std::vector<int64_t>& numbers) {
  std::string bytes = "(";
  for (const int64_t number : numbers) bytes += pickle_int(number);
  return bytes + "t";
}

struct PickledTensorBytes {
  std::string key = "0";                 // of the storage
  std::string storage = "FloatStorage";  // of torch
  int64_t storage_size = 6;
  int64_t offset = 0;
  std::vector<int64_t> shape = {2, 3};
  std::vector<int64_t> stride = {3, 1};

  [[nodiscard]] std::string bytes() const {
    return "ctorch._utils\n_rebuild_tensor_v2\n((" + pickle_text("storage") + "ctorch\n" + storage +
           "\n" + pickle_text(key) + pickle_text("cpu") + pickle_int(storage_size) + "tQ" +
           pickle_int(offset) + pickle_tuple(shape) + pickle_tuple(stride) +
           "\x89"
           "ccollections\nOrderedDict\n)RtR";
  }
};

// A dict of values that are already encoded.
inline std::string pickle_dict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string bytes = "}(";
  for (const auto& [key, value] : items) bytes += pickle_text(key) + value;
  return bytes + "u";
}

inline std::string pickle(const std::string& value) { return "\x80\x02" + value + "."; }

// An archive as torch.save writes it.
inline std::string torch_archive(const std::string& pickle_bytes,
                                 const std::vector<std::string>& storages) {
  ZipFile zip;
  zip.alignment = 64;
  zip.entries.push_back({"a/data.pkl", pickle_bytes});
  zip.entries.push_back({"a/byteorder", "little"});
  for (size_t i = 0; i < storages.size(); ++i)
    zip.entries.push_back({"a/data/" + std::to_string(i), storages[i]});
  zip.entries.push_back({"a/version", "3\n"});
  return zip.bytes();
}

}  // namespace t2v::test
