#include "core/atomic_file.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "t2v/error.h"

using namespace t2v;
namespace fs = std::filesystem;

namespace {

struct Folder {
  Folder() : path(fs::temp_directory_path() / ("t2v-core-test-" + std::to_string(::getpid()))) {
    fs::create_directory(path);
  }
  ~Folder() { fs::remove_all(path); }
  [[nodiscard]] std::string file(const std::string& name) const { return (path / name).string(); }
  [[nodiscard]] int64_t num_entries() const {
    return std::distance(fs::directory_iterator(path), {});
  }
  fs::path path;
};

std::string content(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

}  // namespace

TEST_CASE("a file appears when it is whole, and not before") {
  const Folder folder;
  core::AtomicFile file(folder.file("a.txt"));
  file.write("hello", 5);
  CHECK_FALSE(fs::exists(folder.file("a.txt")));
  file.write_at("J", 1, 0);
  file.commit();
  CHECK(content(folder.file("a.txt")) == "Jello");
  CHECK(folder.num_entries() == 1);
}

TEST_CASE("an old file survives a run that fails") {
  const Folder folder;
  std::ofstream(folder.file("a.txt")) << "old";
  {
    core::AtomicFile file(folder.file("a.txt"));
    file.write("new", 3);
  }
  CHECK(content(folder.file("a.txt")) == "old");
  CHECK(folder.num_entries() == 1);
}

TEST_CASE("a folder of results replaces an older one") {
  const Folder folder;
  fs::create_directory(folder.file("out"));
  std::ofstream(folder.file("out/1")) << "old";
  const std::string temporary = core::temporary_name_for(folder.file("out"));
  fs::create_directory(temporary);
  std::ofstream(temporary + "/2") << "new";
  core::commit_file(temporary, folder.file("out"));
  CHECK(fs::exists(folder.file("out/2")));
  CHECK_FALSE(fs::exists(folder.file("out/1")));
  CHECK(folder.num_entries() == 1);
}

TEST_CASE("what killed processes have left is removed, and nothing else") {
  const Folder folder;
  const pid_t dead = ::fork();
  if (dead == 0) ::_exit(0);
  REQUIRE(::waitpid(dead, nullptr, 0) == dead);
  const std::string ended = std::to_string(dead);
  const std::string alive = std::to_string(::getpid());
  const std::string left[] = {".a." + ended + "-0.part.txt", ".a." + ended + "-17.part.txt"};
  const std::string kept[] = {"a.txt",
                              ".a." + alive + "-0.part.txt",
                              ".a." + ended + "-0.part.pth",
                              ".b." + ended + "-0.part.txt",
                              ".a." + ended + "-.part.txt",
                              ".a." + ended + ".part.txt",
                              ".a." + ended + "-0x.part.txt",
                              ".a.part.txt"};
  for (const auto& name : left) std::ofstream(folder.file(name)) << "x";
  for (const auto& name : kept) std::ofstream(folder.file(name)) << "x";
  core::remove_abandoned(folder.file("a.txt"));
  for (const auto& name : left) CHECK_FALSE(fs::exists(folder.file(name)));
  for (const auto& name : kept) CHECK(fs::exists(folder.file(name)));
  core::remove_abandoned(folder.file("no such folder/a.txt"));
}

TEST_CASE("a disk that is full is an output error and leaves nothing") {
  const Folder folder;
  struct rlimit old {};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small { 4096, old.rlim_max };
  ::setrlimit(RLIMIT_FSIZE, &small);
  {
    core::AtomicFile file(folder.file("big"));
    const std::string bytes(10000, 'x');
    try {
      file.write(bytes.data(), bytes.size());
      FAIL("no error");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kOutput);
      CHECK_THAT(error.what(), Catch::Matchers::Contains("big"));
    }
  }
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, old_handler);
  CHECK(folder.num_entries() == 0);
}

TEST_CASE("what cannot be written is known before any work") {
  const Folder folder;
  CHECK_NOTHROW(core::require_writable(folder.file("x.mp4"), "--output"));
  CHECK_THROWS_AS(core::require_writable(folder.file("no/x.mp4"), "--output"), Error);
  std::ofstream(folder.file("plain")) << "";
  CHECK_THROWS_AS(core::require_writable(folder.file("plain/x.mp4"), "--output"), Error);
  CHECK_THROWS_AS(core::AtomicFile(folder.file("no/x")), Error);
  const std::string long_name(250, 'n');
  core::AtomicFile file(folder.file(long_name));
  file.commit();
  CHECK(fs::exists(folder.file(long_name)));
}
