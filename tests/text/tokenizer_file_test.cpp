// Broken tokenizer files: always Error{kModel} that names the file, never a crash.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <random>

#include "t2v/error.h"
#include "text/tokenizer.h"

namespace t2v::text {
namespace {

namespace fs = std::filesystem;

// A folder of this test, gone at the end.
class Scratch {
 public:
  Scratch() {
    std::string name = (fs::temp_directory_path() / "t2v_text_XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error("mkdtemp");
    folder_ = name;
  }
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::string write(const std::string& bytes) const {
    const fs::path path = folder_ / "spiece.model";
    std::ofstream(path, std::ios::binary).write(bytes.data(), std::ssize(bytes));
    return path.string();
  }
  [[nodiscard]] std::string folder() const { return folder_.string(); }

 private:
  fs::path folder_;
};

std::string fixture(const std::string& name) {
  std::ifstream in(T2V_FIXTURES "/text/" + name + "/spiece.model", std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The message of the error of kind kModel that loading throws; "" if it loads.
std::string failure(const std::string& path) {
  try {
    const Tokenizer tokenizer(path);
    (void)tokenizer.encode("a red circle 猫 <pad> Ａ", 64);
    return "";
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kModel);
    return error.what();
  }
}

void check_refused(const std::string& path) {
  const std::string message = failure(path);
  CAPTURE(path);
  CHECK(message.find(path) != std::string::npos);
  CHECK(message.find('\n') == std::string::npos);
}

TEST_CASE("a tokenizer file that is absent, a folder, empty, or something else") {
  const Scratch scratch;
  check_refused(scratch.folder() + "/none/spiece.model");
  check_refused(scratch.folder());
  check_refused("/dev/null");
  check_refused(scratch.write(""));
  check_refused(scratch.write("hello"));
  check_refused(scratch.write("{\"version\": \"1.0\", \"truncation\": null}"));
  check_refused(scratch.write(std::string(4096, '\0')));
  check_refused(scratch.write(std::string(100, '\xFF')));
  check_refused(
      scratch.write("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4548313\n"));
  fs::resize_file(scratch.write("x"), 1u << 30);  // sparse
  check_refused(scratch.folder() + "/spiece.model");
}

TEST_CASE("a truncated tokenizer file is refused wherever it is cut") {
  const Scratch scratch;
  const std::string whole = fixture("nfkc");
  CHECK(failure(scratch.write(whole)).empty());
  std::mt19937 random(7);
  for (int i = 0; i < 200; ++i)
    check_refused(scratch.write(whole.substr(0, random() % whole.size())));
  check_refused(scratch.write(whole.substr(0, 8000)));
}

TEST_CASE("a corrupt tokenizer file is refused or harmless") {
  const Scratch scratch;
  const std::string whole = fixture("fold");
  std::mt19937 random(11);
  for (int i = 0; i < 400; ++i) {
    std::string bytes = whole;
    const size_t range = i % 2 == 0 ? 9000 : bytes.size();  // the pieces, or anywhere
    for (int k = 0; k < 1 + i % 7; ++k) bytes[random() % range] = static_cast<char>(random() % 256);
    const std::string path = scratch.write(bytes);
    const std::string message = failure(path);
    CHECK((message.empty() || message.find(path) != std::string::npos));
  }
}

TEST_CASE("an unreadable config beside the model is no obstacle") {
  const Scratch scratch;
  const std::string path = scratch.write(fixture("nfkc"));
  std::ofstream(scratch.folder() + "/tokenizer_config.json") << "{\"extra_ids\": ";
  CHECK(Tokenizer(path).vocab_size() == 582);
  std::ofstream(scratch.folder() + "/tokenizer_config.json")
      << "\"<extra_id_0>\", \"<extra_id_9>\"";
  CHECK(Tokenizer(path).vocab_size() == 492);
}

}  // namespace
}  // namespace t2v::text
