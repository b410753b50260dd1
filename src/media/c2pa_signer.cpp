#include "media/c2pa_signer.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>

#include "core/check.h"
#include "core/escape.h"
#include "media/c2pa_library.h"
#include "media/png_file.h"
#include "t2v/version.h"

namespace t2v::media {
namespace {

// What a private key may be for; which one it is, only trying tells.
constexpr std::array<const char*, 7> kAlgorithms{"es256", "es384", "es512", "ed25519",
                                                 "ps256", "ps384", "ps512"};
constexpr const char* kPicture = "image/png";

class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int fd() const noexcept { return fd_; }

 private:
  int fd_;
};

int fd_of(void* context) { return *static_cast<int*>(context); }

intptr_t read_some(void* context, uint8_t* bytes, intptr_t size) {
  return ::read(fd_of(context), bytes, static_cast<size_t>(size));
}
intptr_t seek_to(void* context, intptr_t offset, int mode) {
  return ::lseek(fd_of(context), offset, mode == 0 ? SEEK_SET : mode == 1 ? SEEK_CUR : SEEK_END);
}
intptr_t write_some(void* context, const uint8_t* bytes, intptr_t size) {
  return ::write(fd_of(context), bytes, static_cast<size_t>(size));
}
intptr_t flush_nothing(void*) { return 0; }

const char* media_type(OutputFormat format) {
  switch (format) {
    case OutputFormat::kMp4:
      return "video/mp4";
    case OutputFormat::kMov:
      return "video/quicktime";
    case OutputFormat::kWebp:
      return "image/webp";
    case OutputFormat::kGif:
      return "image/gif";
    default:
      return nullptr;
  }
}

std::string read_pem(const std::string& path, const char* flag, const char* word) {
  constexpr size_t kMaxBytes = 1 << 20;
  errno = 0;
  std::ifstream in(path, std::ios::binary);
  std::string text(kMaxBytes, '\0');
  in.read(text.data(), kMaxBytes);
  T2V_REQUIRE(in.is_open() && !in.bad(), ErrorKind::kInput, "cannot read ", word, ": ",
              std::strerror(errno != 0 ? errno : EIO), " ('", core::escape_control(path), "', ",
              flag, "); try a PEM file");
  text.resize(static_cast<size_t>(in.gcount()));
  T2V_REQUIRE(text.find("-----BEGIN") != std::string::npos, ErrorKind::kInput, "cannot read ", word,
              ": it is no PEM file ('", core::escape_control(path), "', ", flag,
              "); try openssl to convert it to PEM");
  return text;
}

// One object of JSON; recipe_json is one already.
std::string manifest_json(const std::string& recipe_json) {
  const std::string self = core::str(R"({"name":"t2v","version":")", kVersion, R"("})");
  std::string text = core::str(
      R"({"claim_generator_info":[)", self,
      R"(],"assertions":[{"label":"c2pa.actions","data":{"actions":[{"action":"c2pa.created",)",
      R"("digitalSourceType":"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia",)",
      R"("softwareAgent":)", self, "}]}}");
  if (!recipe_json.empty())
    text += core::str(R"(,{"label":"t2v.recipe","data":)", recipe_json, "}");
  return text + "]}";
}

template <typename Object, typename Free>
std::unique_ptr<Object, Free> owned(Object* object, Free free) {
  return std::unique_ptr<Object, Free>(object, free);
}

}  // namespace

void C2paSigning::require_format(OutputFormat format) {
  T2V_REQUIRE(media_type(format), ErrorKind::kUsage,
              "cannot sign: C2PA has no place in this kind of output (--c2pa-cert); try .mp4, "
              ".mov, .webp or .gif");
}

C2paSigning::C2paSigning(const SinkOptions& options)
    : library_(nullptr), format_(media_type(output_format_of(options.path))) {
  require_format(output_format_of(options.path));
  T2V_REQUIRE(!options.c2pa_cert.empty() && !options.c2pa_key.empty(), ErrorKind::kUsage,
              options.c2pa_cert.empty() ? "--c2pa-key" : "--c2pa-cert",
              ": certificate and key are needed together; try ",
              options.c2pa_cert.empty() ? "--c2pa-cert FILE" : "--c2pa-key FILE");
  certificate_ = read_pem(options.c2pa_cert, "--c2pa-cert", "certificate");
  key_ = read_pem(options.c2pa_key, "--c2pa-key", "private key");
  library_ = &open_c2pa_library(options.c2pa_library);
  find_algorithm();
}

void C2paSigning::find_algorithm() {
  constexpr std::array<uint8_t, 3> kPixel{0, 0, 0};
  const std::string picture = make_png(kPixel.data(), 1, 1, "");
  std::string reason;
  for (const char* algorithm : kAlgorithms) {
    algorithm_ = algorithm;
    const File source(::memfd_create("c2pa-source", MFD_CLOEXEC));
    const File target(::memfd_create("c2pa-target", MFD_CLOEXEC));
    const bool written = ::write(source.fd(), picture.data(), picture.size()) ==
                         static_cast<ssize_t>(picture.size());
    T2V_REQUIRE(written && target.fd() >= 0, ErrorKind::kOutOfMemory,
                "not enough memory to try the signature");
    const std::string why = sign(source.fd(), target.fd(), kPicture, manifest_json(""));
    if (why.empty()) return;
    // The first words about a key that fits say more than those about all the others.
    if (reason.empty() || why.find("alg") == std::string::npos) reason = why;
  }
  throw Error(ErrorKind::kInput,
              core::str("cannot sign: certificate and key do not work: ", reason,
                        " (--c2pa-cert, --c2pa-key); try a chain with the leaf first that is fit "
                        "for C2PA, and its key"));
}

std::string C2paSigning::sign(int source, int target, const char* format,
                              const std::string& manifest) const {
  const auto reason = [this] {
    char* text = library_->error();
    std::string copy = text ? core::escape_control(text, 400) : "no reason given";
    if (text) library_->string_free(text);
    return copy.empty() ? "no reason given" : copy;
  };
  const C2paLibrary::SignerInfo info{.algorithm = algorithm_.c_str(),
                                     .certificate = certificate_.c_str(),
                                     .private_key = key_.c_str(),
                                     .time_stamp_url = nullptr};
  const auto signer = owned(library_->signer_from_info(&info), library_->signer_free);
  if (!signer) return reason();
  const auto builder = owned(library_->builder_from_json(manifest.c_str()), library_->builder_free);
  if (!builder) return reason();
  const auto stream_of = [this](int& fd) {
    return owned(library_->create_stream(&fd, read_some, seek_to, write_some, flush_nothing),
                 library_->release_stream);
  };
  ::lseek(source, 0, SEEK_SET);
  const auto in = stream_of(source);
  const auto out = stream_of(target);
  const unsigned char* bytes = nullptr;
  const int64_t size =
      library_->builder_sign(builder.get(), format, in.get(), out.get(), signer.get(), &bytes);
  if (bytes) library_->manifest_bytes_free(bytes);
  return size < 0 ? reason() : "";
}

void C2paSigning::sign_file(const std::string& source, const std::string& target,
                            const std::string& recipe_json) const {
  const File in(::open(source.c_str(), O_RDONLY | O_CLOEXEC));
  const File out(::open(target.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  T2V_REQUIRE(in.fd() >= 0 && out.fd() >= 0, ErrorKind::kOutput,
              "cannot sign output: ", std::strerror(errno), " ('", core::escape_control(target),
              "'); try another folder");
  const std::string why = sign(in.fd(), out.fd(), format_, manifest_json(recipe_json));
  T2V_REQUIRE(why.empty(), ErrorKind::kOutput, "cannot sign output: ", why, " ('",
              core::escape_control(target), "'); try without --c2pa-cert");
}

}  // namespace t2v::media
