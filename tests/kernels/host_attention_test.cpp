// flash_attention's own source, run on the host, against its definition in fp64. Copies arrive at
// their wait and poison until then, warps run ahead of one another, so a missing wait or barrier
// shows as NaN.
#include "host_attention.h"

#include <catch2/catch.hpp>

#include "host_cuda/host_cuda.h"
#include "t2v/kernels/mma_layout.h"

using namespace t2v::kernels;

namespace {

constexpr DType kNarrow[] = {DType::kBFloat16, DType::kFloat16};
constexpr FlashVariant kVariants[] = {FlashVariant::kFourWarpsOneStage,
                                      FlashVariant::kFourWarpsTwoStages,
                                      FlashVariant::kEightWarpsTwoStages};

void run_and_check(const AttentionCase& c, FlashVariant variant = FlashVariant::kAuto) {
  CAPTURE(c.heads, c.queries, c.keys, c.head_size, static_cast<int>(c.dtype),
          static_cast<int>(variant));
  HostAttention attention(c);
  FlashAttentionArgs args = attention.args();
  args.variant = variant;
  args.lse = attention.lse.floats();
  REQUIRE(flash_attention(args, nullptr) == cudaSuccess);
  attention.check(args);
}

// A list per query block, as the kernel reads it, and the keys it stands for.
struct List {
  std::vector<std::int32_t> lut;
  std::vector<std::int32_t> counts;
  std::vector<std::vector<std::int64_t>> rows;
  std::int64_t max_blocks = 0;

  List(std::int64_t queries, std::int64_t keys, const std::function<bool(int, int)>& visits) {
    max_blocks = (keys + kKeyBlock - 1) / kKeyBlock + 1;
    for (int i = 0; i < (queries + kQueryBlock - 1) / kQueryBlock; ++i) {
      std::vector<std::int32_t> line;
      rows.emplace_back();
      for (int j = 0; j < max_blocks - 1; ++j) {
        if (!visits(i, j)) continue;
        line.push_back(j);
        for (std::int64_t r = std::int64_t{j} * kKeyBlock;
             r < std::min<std::int64_t>(keys, (j + 1) * kKeyBlock); ++r)
          rows.back().push_back(r);
      }
      counts.push_back(static_cast<std::int32_t>(line.size()));
      line.resize(static_cast<std::size_t>(max_blocks), -1000000);  // never to be read
      lut.insert(lut.end(), line.begin(), line.end());
    }
  }

  [[nodiscard]] KeyBlockList args() const {
    return {lut.data(), counts.data(), max_blocks, ListScope::kSharedByHeads};
  }
};

}  // namespace

TEST_CASE("fragments of the matrix product are as ldmatrix delivers them") {
  // Every element of A and B is held once, and where a lane's ldmatrix address puts it.
  int held_a[16][16] = {};
  int held_b[16][8] = {};
  int held_c[16][8] = {};
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 8; ++i) {
      const MatrixPlace a = place_in_a(lane, i);
      ++held_a[a.row][a.column];
      // Register i/2 of ldmatrix: row lane/4, columns 2*(lane%4)+i%2 of the quarter that lanes
      // 8*(i/2) and following address.
      const MatrixPlace quarter = quarter_rows_first(8 * (i / 2));
      CHECK(a.row == quarter.row + lane / 4);
      CHECK(a.column == quarter.column + 2 * (lane % 4) + i % 2);
    }
    for (int i = 0; i < 4; ++i) {
      const MatrixPlace b = place_in_b(lane, i);
      ++held_b[b.row][b.column];
      const MatrixPlace c = place_in_c(lane, i);
      ++held_c[c.row][c.column];
      // Two neighbouring C are one A of 16 columns: what p * v relies on.
      CHECK(place_in_a(lane, i).row == c.row);
      CHECK(place_in_a(lane, i).column == c.column);
      CHECK(place_in_a(lane, i + 4).row == c.row);
      CHECK(place_in_a(lane, i + 4).column == c.column + 8);
      // Keys: rows run along n. Values: rows run along k, transposed by the load.
      const MatrixPlace keys = quarter_columns_first(8 * (i / 2));
      CHECK(b.column == keys.row + lane / 4);
      CHECK(b.row == keys.column + 2 * (lane % 4) + i % 2);
      const MatrixPlace values = quarter_rows_first(8 * (i / 2));
      CHECK(b.row == values.row + 2 * (lane % 4) + i % 2);
      CHECK(b.column == values.column + lane / 4);
    }
    for (int row = 0; row < 8; ++row) {
      CHECK(quarter_rows_first(lane / 8 * 8 + row).row % 8 == row);
      CHECK(quarter_columns_first(lane / 8 * 8 + row).row % 8 == row);
    }
  }
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 16; ++column) CHECK(held_a[row][column] == 1);
    for (int column = 0; column < 8; ++column) {
      CHECK(held_b[row][column] == 1);
      CHECK(held_c[row][column] == 1);
    }
  }
}

TEST_CASE("swizzled tiles hold every chunk once") {
  for (const int row_bytes : {128, 256}) {
    std::vector<int> used(static_cast<std::size_t>(64 * row_bytes / 16));
    for (int row = 0; row < 64; ++row) {
      for (int chunk = 0; chunk < row_bytes / 16; ++chunk) {
        const int offset = tile_offset(row, chunk, row_bytes);
        REQUIRE(offset % 16 == 0);
        ++used[static_cast<std::size_t>(offset / 16)];
      }
    }
    CHECK(std::all_of(used.begin(), used.end(), [](int n) { return n == 1; }));
  }
}

TEST_CASE("flash_attention follows its definition in all variants") {
  for (const FlashVariant variant : kVariants) {
    t2v::host_cuda::device.shared_bytes_per_block = 163 * 1024;
    run_and_check({.heads = 2, .queries = 130, .keys = 193}, variant);
    run_and_check({.heads = 1, .queries = 33, .keys = 64, .dtype = DType::kFloat16}, variant);
    run_and_check({.heads = 1, .queries = 1, .keys = 1}, variant);
  }
  t2v::host_cuda::device = {};
}

TEST_CASE("flash_attention: odd counts around the blocks, both types and head sizes") {
  for (const DType dtype : kNarrow) {
    for (const std::int64_t head_size : {64, 128}) {
      run_and_check({.heads = 1, .queries = 1, .keys = 1, .head_size = head_size, .dtype = dtype});
      run_and_check(
          {.heads = 1, .queries = 127, .keys = 63, .head_size = head_size, .dtype = dtype});
      run_and_check(
          {.heads = 1, .queries = 17, .keys = 65, .head_size = head_size, .dtype = dtype});
      run_and_check(
          {.heads = 2, .queries = 129, .keys = 128, .head_size = head_size, .dtype = dtype});
    }
  }
  run_and_check({.heads = 3, .queries = 300, .keys = 21});
  run_and_check(
      {.heads = 1, .queries = 257, .keys = 257, .head_size = 64, .dtype = DType::kFloat16});
}

TEST_CASE("flash_attention: all variants give the same bits") {
  t2v::host_cuda::device.shared_bytes_per_block = 163 * 1024;
  const AttentionCase c{.heads = 2, .queries = 140, .keys = 150};
  HostAttention first(c);
  FlashAttentionArgs args = first.args();
  args.variant = kVariants[0];
  REQUIRE(flash_attention(args, nullptr) == cudaSuccess);
  for (const FlashVariant variant : {kVariants[1], kVariants[2]}) {
    HostAttention other(c);
    args = other.args();
    args.variant = variant;
    REQUIRE(flash_attention(args, nullptr) == cudaSuccess);
    CHECK(first.same_output(other));
  }
  t2v::host_cuda::device = {};
}

TEST_CASE("flash_attention: rows with gaps between them, heads inside the rows") {
  run_and_check({.heads = 2, .queries = 70, .keys = 70, .extra_stride = 8});
  // q as a view of [L, N, D]: the head stride is smaller than the row stride.
  HostAttention attention({.heads = 2, .queries = 40, .keys = 66, .head_size = 64});
  HostMatrix interleaved(DType::kBFloat16, 40, 2 * 64, 16);
  for (std::int64_t n = 0; n < 2; ++n) {
    for (std::int64_t l = 0; l < 40; ++l) {
      for (std::int64_t d = 0; d < 64; ++d)
        interleaved.set(l, n * 64 + d, static_cast<float>(attention.q.get(n * 40 + l, d)));
    }
  }
  FlashAttentionArgs args = attention.args();
  args.q = interleaved.data();
  args.q_head_stride = 64;
  args.q_row_stride = interleaved.stride();
  REQUIRE(flash_attention(args, nullptr) == cudaSuccess);
  attention.check(args);
}

TEST_CASE("flash_attention: a bias per key, also one that hides keys") {
  for (const std::int64_t keys : {21, 130}) {
    HostAttention attention({.heads = 2, .queries = 75, .keys = keys});
    FlashAttentionArgs args = attention.args();
    args.key_bias = attention.bias.floats();
    args.lse = attention.lse.floats();
    REQUIRE(flash_attention(args, nullptr) == cudaSuccess);
    attention.check(args);
    // The first block hidden as a whole: no maximum yet when it is done.
    for (std::int64_t key = 0; key < keys - 1; ++key) attention.bias.set(0, key, -INFINITY);
    REQUIRE(flash_attention(args, nullptr) == cudaSuccess);
    attention.check(args);
    attention.bias.set(0, keys - 1, -INFINITY);
    REQUIRE(flash_attention(args, nullptr) == cudaSuccess);
    CHECK(attention.out.get(74, 255) == 0);
    CHECK(attention.lse.get(1, 74) == -INFINITY);
  }
}

TEST_CASE("flash_attention: large scores, equal scores") {
  run_and_check({.heads = 1, .queries = 40, .keys = 150, .query_size = 50.0F});
  run_and_check({.heads = 1, .queries = 40, .keys = 150, .query_size = 0.0F});
  run_and_check(
      {.heads = 1, .queries = 40, .keys = 150, .dtype = DType::kFloat16, .query_size = 50.0F});
}

TEST_CASE("flash_attention: a full list has the bits of no list; random lists the masked truth") {
  const AttentionCase c{.heads = 2, .queries = 200, .keys = 300};
  HostAttention dense(c);
  REQUIRE(flash_attention(dense.args(), nullptr) == cudaSuccess);
  HostAttention listed(c);
  const List full(c.queries, c.keys, [](int, int) { return true; });
  FlashAttentionArgs args = listed.args();
  args.list = full.args();
  REQUIRE(flash_attention(args, nullptr) == cudaSuccess);
  CHECK(listed.same_output(dense));

  const auto one = [](int i, int j) { return j == 2 * i; };         // counts of 1
  const auto tail = [](int i, int j) { return j == 4 || j == i; };  // with the partial block
  const auto some = [](int i, int j) { return (i * 7 + j * 5) % 3 != 1 || j == i; };
  for (const auto& visits : {std::function<bool(int, int)>(one), {tail}, {some}}) {
    const List list(c.queries, c.keys, visits);
    args.list = list.args();
    args.lse = listed.lse.floats();
    REQUIRE(flash_attention(args, nullptr) == cudaSuccess);
    listed.check(args, list.rows);
  }
}

TEST_CASE("flash_attention: one list per head") {
  const AttentionCase c{.heads = 2, .queries = 130, .keys = 130};
  HostAttention both(c);
  List list(c.queries, c.keys, [](int, int j) { return j == 0; });
  const List second(c.queries, c.keys, [](int, int j) { return j > 0; });
  list.lut.insert(list.lut.end(), second.lut.begin(), second.lut.end());
  list.counts.insert(list.counts.end(), second.counts.begin(), second.counts.end());
  FlashAttentionArgs args = both.args();
  args.list = list.args();
  args.list.scope = ListScope::kPerHead;
  REQUIRE(flash_attention(args, nullptr) == cudaSuccess);
  HostAttention head0(c);
  args = head0.args();
  args.list = list.args();
  REQUIRE(flash_attention(args, nullptr) == cudaSuccess);
  HostAttention head1(c);
  args = head1.args();
  args.list = second.args();
  REQUIRE(flash_attention(args, nullptr) == cudaSuccess);
  std::int64_t different = 0;
  for (std::int64_t l = 0; l < c.queries; ++l) {
    for (std::int64_t d = 0; d < 128; ++d) {
      different += both.out.get(l, d) != head0.out.get(l, d);
      different += both.out.get(l, 128 + d) != head1.out.get(l, 128 + d);
    }
  }
  CHECK(different == 0);
}

TEST_CASE("flash_attention: keys in slots of a ring") {
  // Slots of 70 rows, each a block of 64 and one of 6, visited out of order; slot 1 is empty.
  HostAttention attention({.heads = 1, .queries = 50, .keys = 210});
  const std::vector<std::int32_t> first{140, 204, 0, 64};
  const std::vector<std::int32_t> count{64, 6, 64, 6};
  std::vector<std::vector<std::int64_t>> rows(1);
  for (std::size_t b = 0; b < first.size(); ++b) {
    for (std::int32_t r = 0; r < count[b]; ++r) rows[0].push_back(first[b] + r);
  }
  for (std::int64_t r = 70; r < 140; ++r) {
    for (std::int64_t d = 0; d < 128; ++d) {
      attention.k.set(r, d, NAN);
      attention.v.set(r, d, NAN);
    }
  }
  FlashAttentionArgs args = attention.args();
  args.table = {first.data(), count.data(), 4};
  REQUIRE(flash_attention(args, nullptr) == cudaSuccess);
  attention.check(args, rows);
  args.key_bias = attention.bias.floats();
  REQUIRE(flash_attention(args, nullptr) == cudaSuccess);
  attention.check(args, rows);
}

TEST_CASE("flash_attention reads its tiles without bank conflicts") {
  // Over all launches of this program so far and these.
  run_and_check({.heads = 1, .queries = 20, .keys = 70});
  run_and_check({.heads = 1, .queries = 20, .keys = 70, .head_size = 64});
  CHECK(t2v::host_cuda::num_bank_conflicts == 0);
}

TEST_CASE("flash_attention refuses broken preconditions") {
  HostAttention attention({.heads = 2, .queries = 3, .keys = 5});
  const std::vector<std::int32_t> numbers(64, 1);
  using Args = FlashAttentionArgs;
  const auto status = [&](const auto& change) {
    Args args = attention.args();
    change(args);
    const long before = t2v::host_cuda::num_blocks_run;
    const cudaError_t result = flash_attention(args, nullptr);
    CHECK(t2v::host_cuda::num_blocks_run == before);
    return result;
  };
  const auto shifted = [](const void* p, int bytes) {
    return const_cast<char*>(static_cast<const char*>(p)) + bytes;
  };
  constexpr cudaError_t kInvalid = cudaErrorInvalidValue;
  constexpr cudaError_t kMisaligned = cudaErrorMisalignedAddress;
  for (const auto member : {&Args::q, &Args::k, &Args::v}) {
    CHECK(status([&](Args& a) { a.*member = nullptr; }) == kInvalid);
    CHECK(status([&](Args& a) { a.*member = shifted(a.*member, 8); }) == kMisaligned);
  }
  CHECK(status([](Args& a) { a.out = nullptr; }) == kInvalid);
  CHECK(status([&](Args& a) { a.out = shifted(a.out, 2); }) == kMisaligned);
  for (const auto member :
       {&Args::q_row_stride, &Args::k_row_stride, &Args::v_row_stride, &Args::out_row_stride}) {
    CHECK(status([&](Args& a) { a.*member = 127; }) == kInvalid);
    CHECK(status([&](Args& a) { a.*member = (std::int64_t{1} << 29) + 8; }) == kInvalid);
    CHECK(status([&](Args& a) { a.*member += 4; }) == kMisaligned);
  }
  for (const auto member :
       {&Args::q_head_stride, &Args::k_head_stride, &Args::v_head_stride, &Args::out_head_stride}) {
    CHECK(status([&](Args& a) { a.*member = -8; }) == kInvalid);
    CHECK(status([&](Args& a) { a.*member = (std::int64_t{1} << 44) + 8; }) == kInvalid);
    CHECK(status([&](Args& a) { a.*member += 2; }) == kMisaligned);
  }
  CHECK(status([](Args& a) { a.num_heads = 0; }) == kInvalid);
  CHECK(status([](Args& a) { a.num_heads = 65536; }) == kInvalid);
  CHECK(status([](Args& a) { a.num_queries = -1; }) == kInvalid);
  CHECK(status([](Args& a) { a.num_queries = std::int64_t{1} << 31; }) == kInvalid);
  CHECK(status([](Args& a) { a.num_keys = 0; }) == kInvalid);
  CHECK(status([](Args& a) { a.num_keys = std::int64_t{1} << 31; }) == kInvalid);
  CHECK(status([](Args& a) { a.head_size = 96; }) == kInvalid);
  CHECK(status([](Args& a) { a.scale = 0.0F; }) == kInvalid);
  CHECK(status([](Args& a) { a.scale = -1.0F; }) == kInvalid);
  CHECK(status([](Args& a) { a.scale = NAN; }) == kInvalid);
  CHECK(status([](Args& a) { a.scale = INFINITY; }) == kInvalid);
  CHECK(status([](Args& a) { a.dtype = DType::kFloat32; }) == kInvalid);
  CHECK(status([](Args& a) { a.dtype = static_cast<DType>(9); }) == kInvalid);
  CHECK(status([](Args& a) { a.variant = static_cast<FlashVariant>(9); }) == kInvalid);
  CHECK(status([&](Args& a) {
          a.key_bias = attention.bias.floats(),
          a.key_bias = static_cast<const float*>(static_cast<void*>(shifted(a.key_bias, 2)));
        }) == kMisaligned);
  CHECK(status([&](Args& a) { a.list.lut = numbers.data(); }) == kInvalid);
  CHECK(status([&](Args& a) { a.list.counts = numbers.data(); }) == kInvalid);
  CHECK(status([&](Args& a) {
          a.list = {numbers.data(), numbers.data(), 0, ListScope::kPerHead};
        }) == kInvalid);
  CHECK(status([&](Args& a) { a.table.first_row = numbers.data(); }) == kInvalid);
  CHECK(status([&](Args& a) { a.table = {numbers.data(), numbers.data(), 0}; }) == kInvalid);
  CHECK(status([](Args& a) { a.num_queries = 0; }) == cudaSuccess);
  t2v::host_cuda::device.capability_major = 12;
  CHECK(status([](Args& a) { a.variant = FlashVariant::kFourWarpsOneStage; }) ==
        cudaErrorNotSupported);
  // A device without the memory for the variant says so itself.
  t2v::host_cuda::device.shared_bytes_per_block = 48 * 1024;
  CHECK(status([](Args&) {}) == kInvalid);
  t2v::host_cuda::device = {};
}
