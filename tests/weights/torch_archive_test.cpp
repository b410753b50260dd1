// Torch archives: what is read, and that nothing else is done with them.
#include "weights/torch_archive.h"

#include <ATen/core/Tensor.h>

#include <catch2/catch.hpp>

#include "container_bytes.h"
#include "scratch.h"
#include "weights/checkpoint.h"

using namespace t2v;
using namespace t2v::weights;
using namespace t2v::test;

namespace {

const std::string kStorage(24, 'x');  // 6 floats

ContainerHeader read(const std::string& bytes) {
  const Scratch scratch;
  write_text(scratch / "x.pth", bytes);
  return read_torch_archive(LocalFile(scratch / "x.pth"));
}

std::string refusal(const std::string& bytes) {
  const std::string message = message_of([&] { read(bytes); });
  if (!message.empty()) CHECK_THAT(message, Catch::Contains("x.pth"));
  return message;
}

// Of an archive with two storages of 6 floats whose pickle makes `value`.
std::string refusal_of(const std::string& value) {
  return refusal(torch_archive(pickle(value), {kStorage, kStorage}));
}

std::string refusal_of(const PickledTensorBytes& tensor) {
  return refusal_of(pickle_dict({{"w", tensor.bytes()}}));
}

std::string tiny() {
  return torch_archive(pickle(pickle_dict({{"w", PickledTensorBytes{}.bytes()},
                                           {"h", PickledTensorBytes{.key = "1",
                                                                    .storage = "BFloat16Storage",
                                                                    .storage_size = 12,
                                                                    .offset = 2,
                                                                    .shape = {1, 10},
                                                                    .stride = {77, 1}}
                                                     .bytes()},
                                           {"step", pickle_int(7)}})),
                       {kStorage, kStorage});
}

}  // namespace

TEST_CASE("torch archive: tensors of a state dict") {
  const std::string bytes = tiny();
  const ContainerHeader header = read(bytes);
  REQUIRE(header.tensors.size() == 2);
  const TensorEntry& h = header.tensors[0];
  const TensorEntry& w = header.tensors[1];
  CHECK(w.name == "w");
  CHECK(w.dtype == c10::ScalarType::Float);
  CHECK(w.shape == std::vector<int64_t>{2, 3});
  CHECK(w.bytes == 24);
  CHECK(w.offset % 64 == 0);
  CHECK(bytes.substr(static_cast<size_t>(w.offset), 24) == kStorage);
  CHECK(h.name == "h");
  CHECK(h.dtype == c10::ScalarType::BFloat16);
  CHECK(h.shape == std::vector<int64_t>{1, 10});
  CHECK(h.bytes == 20);
  CHECK((h.offset - 4) % 64 == 0);
}

TEST_CASE("torch archive: ZIP64") {
  ZipFile zip;
  zip.wide = true;
  zip.entries = {{"a/data.pkl", pickle(pickle_dict({{"w", PickledTensorBytes{}.bytes()}}))},
                 {"a/data/0", kStorage}};
  const std::string bytes = zip.bytes();
  const ContainerHeader header = read(bytes);
  REQUIRE(header.tensors.size() == 1);
  CHECK(bytes.substr(static_cast<size_t>(header.tensors[0].offset), 24) == kStorage);
}

TEST_CASE("torch archive: state dicts in dicts") {
  const std::string one = pickle_dict({{"one", PickledTensorBytes{}.bytes()}});
  const std::string two = pickle_dict({{"two", PickledTensorBytes{}.bytes()}});
  const auto name_in = [](const std::string& value) {
    return read(torch_archive(pickle(value), {kStorage})).tensors.at(0).name;
  };
  CHECK(name_in(pickle_dict({{"generator", one}, {"critic", two}})) == "one");
  CHECK(name_in(pickle_dict({{"generator", one}, {"generator_ema", two}})) == "two");
  const auto wrapper_in = [](const std::string& value) {
    return read(torch_archive(pickle(value), {kStorage})).metadata["t2v.wrapper"];
  };
  CHECK(wrapper_in(pickle_dict({{"generator", pickle_dict({{"model", one}})}})) == "generator");
  CHECK(wrapper_in(pickle_dict({{"generator", one}, {"generator_ema", two}})) == "generator_ema");
  CHECK(wrapper_in(pickle_dict({{"model", one}})) == "");
  CHECK(name_in(pickle_dict({{"state_dict", one}, {"model", two}})) == "two");
  CHECK(name_in(pickle_dict({{"module", one}, {"state_dict", two}})) == "two");
  CHECK(name_in(pickle_dict({{"model", pickle_dict({{"module", one}})}})) == "one");
  CHECK(name_in(pickle_dict({{"model", pickle_int(1)}, {"x", PickledTensorBytes{}.bytes()}})) ==
        "x");
  CHECK(name_in(PickledTensorBytes{}.bytes()) == "latents");
  CHECK_THAT(refusal_of(pickle_dict({{"optimizer", one}})), Catch::Contains("no tensors"));
  std::string deep = one;
  for (int i = 0; i < 5; ++i) deep = pickle_dict({{"model", deep}});
  CHECK_THAT(refusal_of(deep), Catch::Contains("nested"));
}

TEST_CASE("torch archive: what torch.save has written is read right") {
  // Another program's latents: a bare tensor with sizes behind its members and extra fields.
  const Checkpoint checkpoint =
      Checkpoint::open(std::string(T2V_FIXTURES) + "/latents/test_latents_wan.pth");
  REQUIRE(checkpoint.tensors().size() == 1);
  const at::Tensor latents = checkpoint.load("latents");
  CHECK(latents.scalar_type() == at::kBFloat16);
  CHECK(latents.sizes() == c10::IntArrayRef({1, 16, 16, 40, 64}));
  const at::Tensor wide = latents.to(at::kFloat);
  CHECK(wide.mean().item<double>() == Approx(-0.0411).margin(0.2));
  CHECK(wide.std().item<double>() == Approx(1.0).margin(0.5));
}

TEST_CASE("torch archive: a pickle that asks for more than tensors is refused by name") {
  for (const std::string global :
       {"os\nsystem", "posix\nsystem", "builtins\neval", "__builtin__\nexec", "subprocess\nPopen",
        "torch\nload", "torch.hub\nload", "torch._utils\n_rebuild_tensor_v3",
        "collections\nCounter", "torch\nSize", "torch._utils\n_rebuild_tensor_v2 ",
        "functools\npartial", "\n", "a.b\nc"}) {
    CAPTURE(global);
    const std::string message = refusal_of("c" + global + "\n(" + pickle_text("true") + "tR");
    CHECK_THAT(message, Catch::Contains("it asks for '"));
    CHECK_THAT(message, Catch::Contains("nothing was executed"));
  }
  const auto stack_global = [](const std::string& module, const std::string& name) {
    return pickle_text(module) + pickle_text(name) + "\x93";
  };
  CHECK_THAT(refusal_of(stack_global("os", "system") + "(" + pickle_text("true") + "tR"),
             Catch::Contains("'os.system'"));
  CHECK_THAT(refusal_of(pickle_int(1) + pickle_text("x") + "\x93"), Catch::Contains("not text"));
  // What is allowed can still not be called with anything.
  const std::string odict = "ccollections\nOrderedDict\n";
  CHECK_THAT(refusal_of(odict + "(" + odict + "tR"), Catch::Contains("OrderedDict is made of"));
  CHECK_THAT(refusal_of("ctorch\nFloatStorage\n(tR"), Catch::Contains("it calls 'torch.FloatS"));
  CHECK_THAT(refusal_of(pickle_int(1) + "(tR"), Catch::Contains("calls what is no function"));
  CHECK_THAT(refusal_of(odict + "]R"), Catch::Contains("is not a tuple"));
  CHECK_THAT(refusal_of("ctorch._utils\n_rebuild_parameter\n(K\1K\1K\1tR"),
             Catch::Contains("not made of a tensor"));
  CHECK_THAT(refusal_of(odict + ")R}(ub" + ")b"), Catch::Contains("state is set"));
}

TEST_CASE("torch archive: opcodes that do not belong there") {
  for (const char* code :
       {"i",    "o",    "P",    "F",    "I",    "L",    "S",    "V",    "d",
        "l",    "g",    "p",    "2",    "\x81", "\x82", "\x83", "\x84", "\x8b",
        "\x8f", "\x90", "\x91", "\x92", "\x96", "\x97", "\x98", "\xff", "\x01"}) {
    CAPTURE(code);
    CHECK_THAT(refusal_of(std::string(code) + "aaaa\nbbbb\n"),
               Catch::Contains("does not belong into a checkpoint"));
  }
  CHECK_THAT(refusal_of("\x80\x06N"), Catch::Contains("protocol 6"));
  CHECK_THAT(refusal_of("\x80\x01N"), Catch::Contains("protocol 1"));
}

TEST_CASE("torch archive: broken stacks") {
  CHECK_THAT(refusal_of(""), Catch::Contains("does not end with one value"));
  CHECK_THAT(refusal_of("NN"), Catch::Contains("does not end with one value"));
  CHECK_THAT(refusal_of("N("), Catch::Contains("does not end with one value"));
  CHECK_THAT(refusal_of("N.N"), Catch::Contains("bytes follow its end"));
  CHECK_THAT(refusal_of("0"), Catch::Contains("stack is empty"));
  CHECK_THAT(refusal_of("t"), Catch::Contains("a mark is missing"));
  CHECK_THAT(refusal_of("(\x86"), Catch::Contains("stack is empty"));
  CHECK_THAT(refusal_of("N(0"), Catch::Contains("stack is empty"));
  CHECK_THAT(refusal_of("NNa"), Catch::Contains("cannot hold them"));
  CHECK_THAT(refusal_of("]NNs"), Catch::Contains("cannot hold them"));
  CHECK_THAT(refusal_of("}(Nu"), Catch::Contains("a key has no value"));
  CHECK_THAT(refusal_of("}Ns"), Catch::Contains("stack is empty"));
  CHECK_THAT(refusal_of(std::string("h\0", 2)), Catch::Contains("memo 0 was never set"));
  CHECK_THAT(refusal_of("j\xff\xff\xff\xff"), Catch::Contains("was never set"));
  CHECK_THAT(refusal_of("q\1"), Catch::Contains("stack is empty"));
  CHECK_THAT(refusal_of(std::string(65, '(')), Catch::Contains("nested over 64"));
  CHECK_THAT(refusal_of("X\xff\xff\xff\xff"
                        "abc"),
             Catch::Contains("more are expected"));
  CHECK_THAT(refusal_of("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
                        "abc"),
             Catch::Contains("more are expected"));
  CHECK_THAT(refusal_of("\x95\xff\xff\xff\xff\xff\xff\xff\x7f"), Catch::Contains("a frame"));
  CHECK_THAT(refusal_of("ctorch"), Catch::Contains("a line has no end"));
  CHECK_THAT(refusal_of("N"), Catch::Contains("neither a dict nor a tensor"));
  CHECK_THAT(refusal_of("]"), Catch::Contains("neither a dict nor a tensor"));
  // Values that hold themselves are harmless.
  CHECK_THAT(refusal_of("]q\1h\1a"), Catch::Contains("neither a dict nor a tensor"));
  CHECK_THAT(refusal_of("}q\1" + pickle_text("model") + "h\1s"), Catch::Contains("nested"));
}

TEST_CASE("torch archive: broken tensors") {
  using Tensor = PickledTensorBytes;
  CHECK_THAT(refusal_of(Tensor{.shape = {2, 4}, .stride = {4, 1}}), Catch::Contains("8 elements"));
  CHECK_THAT(refusal_of(Tensor{.offset = 1}), Catch::Contains("after 1, its storage has 6"));
  CHECK_THAT(refusal_of(Tensor{.offset = INT64_MAX}), Catch::Contains("its storage has 6"));
  CHECK_THAT(refusal_of(Tensor{.offset = -1}), Catch::Contains("not a number from 0"));
  CHECK_THAT(refusal_of(Tensor{.shape = {2, -3}}), Catch::Contains("not a number from 0"));
  CHECK_THAT(refusal_of(Tensor{.stride = {1, 2}}), Catch::Contains("'w' is not contiguous"));
  CHECK_THAT(refusal_of(Tensor{.stride = {0, 0}}), Catch::Contains("'w' is not contiguous"));
  CHECK_THAT(refusal_of(Tensor{.stride = {3}}), Catch::Contains("differ in length"));
  CHECK_THAT(refusal_of(Tensor{.shape = {INT64_MAX, 2}}), Catch::Contains("overflows"));
  CHECK_THAT(refusal_of(Tensor{.shape = {1L << 40, 1L << 40}}), Catch::Contains("overflows"));
  CHECK_THAT(refusal_of(Tensor{.shape = std::vector<int64_t>(17, 1)}),
             Catch::Contains("17 dimensions"));
  CHECK_THAT(refusal_of(Tensor{.storage_size = 7}), Catch::Contains("expected 7 elements"));
  CHECK_THAT(refusal_of(Tensor{.storage_size = 1L << 62}), Catch::Contains("expected 46116"));
  CHECK_THAT(refusal_of(Tensor{.storage = "DoubleStorage"}), Catch::Contains("elements of 8"));
  CHECK_THAT(refusal_of(Tensor{.storage = "ComplexFloatStorage"}),
             Catch::Contains("'torch.ComplexFloatStorage'"));
  CHECK_THAT(refusal_of(Tensor{.key = "7"}), Catch::Contains("'data/7', which is not there"));
  for (const char* key : {"", "../0", "0/1", "a b", "..", "0\n"}) {
    CAPTURE(key);
    CHECK_THAT(refusal_of(Tensor{.key = key}), Catch::Contains("a storage has the key"));
  }
  const std::string whole = Tensor{}.bytes();
  CHECK_THAT(refusal_of(pickle_dict({{"w", whole}, {"w", whole}})), Catch::Contains("there twice"));
  CHECK_THAT(refusal_of(pickle_dict({{"", whole}})), Catch::Contains("no name"));
  CHECK_THAT(refusal_of(pickle_dict({{"a\x1b[2J", whole}})), Catch::Contains("control bytes"));
  CHECK_THAT(refusal_of("}(K\1" + whole + "u"), Catch::Contains("no name"));
  CHECK_THAT(refusal_of(pickle_tuple({1, 2}) + "Q"), Catch::Contains("a storage has 2 parts"));
  CHECK_THAT(refusal_of(pickle_tuple({1, 2, 3, 4, 5}) + "Q"), Catch::Contains("not that of a st"));
  CHECK_THAT(refusal_of("NQ"), Catch::Contains("not a tuple"));
  CHECK_THAT(refusal_of("ctorch._utils\n_rebuild_tensor_v2\n(NNNtR"),
             Catch::Contains("made of 3 parts"));
  CHECK_THAT(refusal_of("ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR"),
             Catch::Contains("made of no storage"));
}
