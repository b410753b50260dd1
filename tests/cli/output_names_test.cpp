#include "cli/output_names.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "cli/recipe_command.h"
#include "t2v/error.h"

namespace t2v::cli {
namespace {

TEST_CASE("a slug is fit for a file name") {
  CHECK(slug_of("A small, RED circle!") == "a-small-red-circle");
  CHECK(slug_of("../../etc/passwd") == "etc-passwd");
  CHECK(slug_of("一个红色圆圈，向右") == "一个红色圆圈-向右");
  CHECK(slug_of("!!!") == "video");
  CHECK(slug_of("") == "video");
  CHECK(slug_of(std::string(500, 'a')).size() <= 40);
  CHECK(slug_of("a\x1b[31mb\xff") == "a-31mb");
}

TEST_CASE("placeholders are replaced, other braces stay") {
  const NamedVideo video{.index = 7, .seed = 42, .prompt = "red {seed}"};
  CHECK(expand_name("o/{index}_{seed}_{slug}.mp4", video) == "o/0007_42_red-seed.mp4");
  CHECK(expand_name("{other}{.mp4", video) == "{other}{.mp4");
}

TEST_CASE("output patterns") {
  CHECK(output_pattern("", false) == "{slug}-{seed}.mp4");
  CHECK(output_pattern("a.mp4", false) == "a.mp4");
  CHECK(output_pattern("-", true) == "-");
  CHECK(output_pattern("new_folder", true) == "new_folder/{index}-{slug}-{seed}.mp4");
  CHECK(output_pattern("new_folder", false) == "new_folder");
  CHECK(output_pattern("/tmp", false) == "/tmp/{slug}-{seed}.mp4");
  CHECK(rescue_name("a/b.mp4", 1) == "a/b.mp4.latents.safetensors");
  CHECK(rescue_name("frames.png/", 1) == "frames.png.latents.safetensors");
}

TEST_CASE("two results of one name are refused") {
  NameRegistry names;
  names.add("a.mp4", "--output");
  names.add("-", "--output");
  names.add("-", "--output");
  names.add("", "--dump");
  CHECK_THROWS_AS(names.add("./x/../a.mp4", "--dump"), Error);
  CHECK_NOTHROW(names.add("b.mp4", "--output"));
}

TEST_CASE("names of a prompt file stay in the output folder") {
  CHECK(name_in_folder("out", "a.mp4", "line 1") == "out/a.mp4");
  CHECK(name_in_folder("", "a/b.mp4", "line 1") == "a/b.mp4");
  CHECK(name_in_folder("out", "..a.mp4", "line 1") == "out/..a.mp4");
  for (const char* name :
       {"/etc/x.mp4", "../x.mp4", "a/../../x.mp4", "a/..", "", ".", "a/", "a\nb.mp4"}) {
    CAPTURE(name);
    CHECK_THROWS_AS(name_in_folder("out", name, "line 1"), Error);
  }
  const std::filesystem::path folder =
      std::filesystem::temp_directory_path() / ("t2v-names-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  std::filesystem::create_symlink("/tmp", folder / "link");
  CHECK_THROWS_AS(name_in_folder(folder.string(), "link/x.mp4", "line 1"), Error);
  std::filesystem::remove_all(folder);
}

TEST_CASE("names beside a video") {
  CHECK(state_name("a/b.mp4") == "a/.b.mp4.t2v-state");
  CHECK(state_name("frames.png/") == ".frames.png.t2v-state");
  CHECK(state_name("-").empty());
  CHECK(base_folder("a/{slug}/b.mp4") == "a");
  CHECK(base_folder("{index}.mp4").empty());
}

TEST_CASE("words for a shell") {
  CHECK(shell_quoted("a-b_c.mp4") == "a-b_c.mp4");
  CHECK(shell_quoted("") == "''");
  CHECK(shell_quoted("it's $HOME") == "'it'\\''s $HOME'");
}

TEST_CASE("a command is made of known flags only") {
  const std::string command = command_of_recipe(
      R"({"t2v":"1","prompt":"a 'b'","steps":4,"output":"/etc/x","guidance_scale_high":3.5})",
      "v/x y.mp4");
  CHECK(command ==
        "t2v generate --prompt 'a '\\''b'\\''' --steps 4 --guidance-scale-high 3.5 -o 'x y.mp4'");
  CHECK_THROWS_AS(command_of_recipe("", "x"), Error);
  CHECK_THROWS_AS(command_of_recipe("[1]", "x"), Error);
}

}  // namespace
}  // namespace t2v::cli
