#include "pipeline/model_hashes.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <span>
#include <system_error>

#include "weights/byte_hash.h"
#include "weights/byte_source.h"
#include "weights/checkpoint.h"

namespace t2v::pipeline {
namespace {

constexpr size_t kDigits = 16;
constexpr size_t kHeaderBytes = size_t{1} << 16;
constexpr size_t kSampleBytes = 4096;
constexpr int64_t kSamples = 16;

void add_text(weights::ByteHash& hash, const std::string& text) {
  hash.add(std::as_bytes(std::span(text.data(), text.size() + 1)));  // with its end
}

void add_range(weights::ByteHash& hash, const weights::ByteSource& file, int64_t offset,
               size_t size) {
  std::vector<std::byte> bytes(std::min(size, static_cast<size_t>(file.size() - offset)));
  file.read(offset, bytes);
  hash.add(bytes);
}

// The file is opened anew: its own reads are counted as those of weights.
void add_local_file(weights::ByteHash& hash, const std::string& path) {
  const weights::LocalFile file(path);
  add_text(hash, std::to_string(file.size()));
  add_range(hash, file, 0, kHeaderBytes);
  for (int64_t i = 1; i <= kSamples; ++i) {
    const int64_t last = file.size() - static_cast<int64_t>(kSampleBytes);
    if (last > 0) add_range(hash, file, last / kSamples * i, kSampleBytes);
  }
}

std::string hash_of(const weights::Checkpoint& checkpoint) {
  weights::ByteHash hash;
  for (const auto& source : checkpoint.files()) {
    std::error_code ignored;
    if (std::filesystem::is_regular_file(source->name(), ignored)) {
      add_local_file(hash, source->name());
    } else {
      add_text(hash, std::to_string(source->size()));
    }
  }
  for (const weights::TensorEntry& tensor : checkpoint.tensors()) add_text(hash, tensor.name);
  return hash.finish().substr(0, kDigits);
}

}  // namespace

std::vector<std::pair<std::string, std::string>> model_hashes(const Model& model) {
  std::vector<std::pair<std::string, std::string>> hashes;
  for (const auto& [name, files] : {std::pair{"text_encoder", &model.folder.text_encoder},
                                    {"transformer", &model.folder.transformer},
                                    {"transformer_2", &model.folder.transformer_2},
                                    {"vae", &model.folder.vae}}) {
    if (files->checkpoint) hashes.emplace_back(name, hash_of(*files->checkpoint));
  }
  return hashes;
}

}  // namespace t2v::pipeline
