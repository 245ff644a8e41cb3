/* libternzip: reads .tnz files, which hold tensors of neural networks, ternary ones above all.
 *
 * In plain C, without Python and torch; docs/c-library.md is the guide, docs/FORMAT.md the file format. It
 * reads what ternzip's Python package reads, refuses what that refuses, and gives the same bits. It does not
 * write.
 *
 * Conventions:
 * Functions that can fail return a ternzip_status, TERNZIP_OK (0) for success, and describe a failure in the
 * ternzip_error that the caller gives; NULL where nobody wants to know. Output parameters are set on success
 * only; what a buffer holds after a failure is unspecified, but nothing beyond it was touched.
 *
 * Tensors, entries of metadata and extensions are numbered from 0 in the order of the file. Bits of elements
 * are as in the machine's memory, in C order: the last dimension varies fastest.
 *
 * A file is checked whole on opening, but for the records of its tensors and extensions. These are checked,
 * each with its own checksum, when they are asked for. Files may come from strangers: set max_bytes.
 *
 * Threads: a ternzip_file never changes, so any number of them may use one at once, in all functions but
 * ternzip_close. Two calls must not share a ternzip_error or an output buffer. The library starts no threads.
 *
 * No exception leaves the library, and nothing is printed; memory that is not to be had is
 * TERNZIP_ERROR_MEMORY. No call leaves anything behind for another but what it returns.
 */
#ifndef TERNZIP_H
#define TERNZIP_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && defined(TERNZIP_BUILDING)
#define TERNZIP_API __declspec(dllexport)
#elif defined(_WIN32) && !defined(TERNZIP_STATIC) /* defined by users of a static library */
#define TERNZIP_API __declspec(dllimport)
#elif defined(__GNUC__)
#define TERNZIP_API __attribute__((visibility("default")))
#else
#define TERNZIP_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Errors ---- */

typedef enum ternzip_status {
  TERNZIP_OK = 0,
  TERNZIP_ERROR_ARGUMENT = 1,    /* NULL, or a buffer that is too small, or a layout of something else */
  TERNZIP_ERROR_NOT_FOUND = 2,   /* no tensor, entry or extension has that name or number */
  TERNZIP_ERROR_NOT_TERNARY = 3, /* symbols or levels were asked for of a tensor that has none */
  TERNZIP_ERROR_READ = 4,        /* the file cannot be opened or read */
  TERNZIP_ERROR_DAMAGED = 5,     /* the file breaks a rule of the format: damaged, or made to deceive */
  TERNZIP_ERROR_UNSUPPORTED = 6, /* the file, or this tensor, needs a later version of the library */
  TERNZIP_ERROR_LIMIT = 7,       /* more than max_bytes would be decoded */
  TERNZIP_ERROR_MEMORY = 8,      /* memory could not be allocated */
  TERNZIP_ERROR_INTERNAL = 9     /* a fault of the library; please report it */
} ternzip_status;

#define TERNZIP_MESSAGE_BYTES 500

/* The caller's own; nothing in it needs to be freed. */
typedef struct ternzip_error {
  ternzip_status status;
  char message[TERNZIP_MESSAGE_BYTES]; /* one line of ASCII: what, where, expected, found; empty for
                                          TERNZIP_OK */
} ternzip_error;

/* A constant such as "TERNZIP_OK"; "unknown status" for other numbers. Never NULL. */
TERNZIP_API const char* ternzip_status_name(ternzip_status status);

/* The version of the library, such as "0.1.0". Its first number is that of the shared library's name. */
TERNZIP_API const char* ternzip_version(void);

/* ---- Files ---- */

/* An open file. */
typedef struct ternzip_file ternzip_file;

#define TERNZIP_NO_LIMIT UINT64_MAX

/* Opens the file at `path`, reads its index and checks it.
 *
 * max_bytes: no call decodes a tensor, or reads an extension, that takes more bytes in memory;
 * TERNZIP_NO_LIMIT for none. ternzip_decoded_bytes says what all tensors take together. A few kilobytes can
 * stand for gigabytes of zeros. The path is in the encoding of fopen, on Windows in UTF-8. The file stays
 * open until ternzip_close, and must not be changed in place meanwhile. On failure *file is NULL. */
TERNZIP_API ternzip_status ternzip_open(const char* path, uint64_t max_bytes, ternzip_file** file,
                                        ternzip_error* error);

/* The same for the bytes of a file in memory, which are not copied: they must outlive *file and must not
 * change. `data` may be NULL where `size` is 0. */
TERNZIP_API ternzip_status ternzip_open_memory(const void* data, size_t size, uint64_t max_bytes,
                                               ternzip_file** file, ternzip_error* error);

/* Gives the file up, and all texts and shapes that were had of it. NULL is allowed. No other call may use the
 * file at the same time or later. */
TERNZIP_API void ternzip_close(ternzip_file* file);

/* Bytes of all tensors in memory, tied ones counted once; UINT64_MAX where they are more. 0 for NULL. */
TERNZIP_API uint64_t ternzip_decoded_bytes(const ternzip_file* file);

/* Decodes all tensors and reads all extensions, one after the other, and drops them: TERNZIP_OK means that
 * every byte of the file was checked. Fails with TERNZIP_ERROR_LIMIT at once where ternzip_decoded_bytes
 * exceeds max_bytes. */
TERNZIP_API ternzip_status ternzip_verify(const ternzip_file* file, ternzip_error* error);

/* ---- Tensors ---- */

/* Text in UTF-8 that belongs to the file it came from. `size` bytes and a NUL behind them; it may hold NULs
 * itself, and whatever else a stranger puts there, such as control characters, "/" and "..". */
typedef struct ternzip_text {
  const char* data;
  size_t size;
} ternzip_text;

/* Types of elements, by their codes in the file. Those up to TERNZIP_INT64 may be ternary. */
typedef enum ternzip_dtype {
  TERNZIP_FLOAT64 = 0,
  TERNZIP_FLOAT32 = 1,
  TERNZIP_FLOAT16 = 2,
  TERNZIP_BFLOAT16 = 3,
  TERNZIP_FLOAT8_E4M3FN = 4,
  TERNZIP_FLOAT8_E5M2 = 5,
  TERNZIP_FLOAT8_E4M3FNUZ = 6,
  TERNZIP_FLOAT8_E5M2FNUZ = 7,
  TERNZIP_INT8 = 8,
  TERNZIP_INT16 = 9,
  TERNZIP_INT32 = 10,
  TERNZIP_INT64 = 11,
  TERNZIP_UINT8 = 12,
  TERNZIP_UINT16 = 13,
  TERNZIP_UINT32 = 14,
  TERNZIP_UINT64 = 15,
  TERNZIP_BOOL = 16,
  TERNZIP_COMPLEX32 = 17,
  TERNZIP_COMPLEX64 = 18,
  TERNZIP_COMPLEX128 = 19,
  TERNZIP_FLOAT8_E8M0FNU = 20,
  TERNZIP_FLOAT4_E2M1FN_X2 = 21 /* two values a byte */
} ternzip_dtype;

/* torch's name of a type, such as "float32"; "unknown" for other numbers. Never NULL. */
TERNZIP_API const char* ternzip_dtype_name(ternzip_dtype dtype);

/* How a tensor is stored. */
typedef enum ternzip_storage {
  TERNZIP_TIED = 0,   /* it shares the elements of an earlier tensor */
  TERNZIP_SOLID = 1,  /* in a block with other small tensors, which is decoded whole */
  TERNZIP_PLANES = 2, /* as byte planes of its own */
  TERNZIP_TERNARY = 3 /* as symbols and levels */
} ternzip_storage;

/* Codecs of symbols, by their codes in the file, which may hold others that this version does not know. */
typedef enum ternzip_codec {
  TERNZIP_CODEC_NONE = -2,     /* the tensor is not ternary */
  TERNZIP_CODEC_CONSTANT = -1, /* only one symbol occurs */
  TERNZIP_CODEC_PACKED = 0,
  TERNZIP_CODEC_STATIC = 1,
  TERNZIP_CODEC_CONTEXT = 2,
  TERNZIP_CODEC_FAST = 3
} ternzip_codec;

/* What the index says of a tensor; nothing was decoded. Pointers belong to the file. */
typedef struct ternzip_tensor_info {
  ternzip_text name;
  ternzip_dtype dtype;
  size_t item_bytes; /* of an element */
  size_t dimensions; /* 0 to 64 */
  const uint64_t* shape;
  uint64_t elements;
  uint64_t bytes;        /* of all elements in memory */
  uint64_t stored_bytes; /* its share of the file's payload; of a tied tensor 0 */
  ternzip_storage storage;
  size_t tied_to;  /* number of the tensor whose elements it shares; its own number where it is not tied */
  int is_readable; /* 0 where it is coded in a way that this version does not know, else 1 */

  /* Of a ternary tensor, or one that is tied to one; else 0 and TERNZIP_CODEC_NONE. */
  int is_ternary;
  int codec;               /* a ternzip_codec, or the code of one that this version does not know */
  uint64_t negative;       /* how many symbols are -1, */
  uint64_t zero;           /* 0 */
  uint64_t positive;       /* and +1 */
  uint64_t negative_zeros; /* how many of the zeros are -0.0 */
  uint64_t level_blocks;   /* blocks that have a pair of levels each; 1 for one pair */
  uint64_t level_rows;     /* of a block: indices of dimension 0, */
  uint64_t level_columns;  /* and consecutive elements of a row */
} ternzip_tensor_info;

/* How many tensors there are. 0 for NULL. */
TERNZIP_API size_t ternzip_tensor_count(const ternzip_file* file);

/* The number of the tensor of that name, which has `name_size` bytes. */
TERNZIP_API ternzip_status ternzip_find(const ternzip_file* file, const char* name, size_t name_size,
                                        size_t* number, ternzip_error* error);

/* What the index says of a tensor. */
TERNZIP_API ternzip_status ternzip_tensor(const ternzip_file* file, size_t number, ternzip_tensor_info* info,
                                          ternzip_error* error);

/* Decodes the elements of a tensor, tied or not: info.bytes of them go to `out`, whose out_bytes must be that
 * many or more. `out` needs no alignment, and may be NULL where there are none. Beside it, a chunk's symbols
 * (at most 4 MiB), its record and the codec's tables take memory; and the levels and the signs of zeros,
 * where a tensor has several. */
TERNZIP_API ternzip_status ternzip_decode(const ternzip_file* file, size_t number, void* out,
                                          size_t out_bytes, ternzip_error* error);

/* Decodes the symbols of a ternary tensor: info.elements numbers -1, 0 and +1 go to `out`, whose out_bytes
 * must be that many or more. Signs of zeros are left out. */
TERNZIP_API ternzip_status ternzip_decode_trits(const ternzip_file* file, size_t number, int8_t* out,
                                                size_t out_bytes, ternzip_error* error);

/* The bytes of that many packed trits: a fifth, rounded up. */
TERNZIP_API uint64_t ternzip_packed_bytes(uint64_t elements);

/* The same symbols, five in a byte: the sum of (symbol j + 1) * 3^j, j = 0 to 4; the last byte is filled up
 * with zeros. `out_bytes` must be ternzip_packed_bytes(info.elements) or more. Takes info.elements bytes of
 * memory meanwhile. */
TERNZIP_API ternzip_status ternzip_decode_packed_trits(const ternzip_file* file, size_t number, uint8_t* out,
                                                       size_t out_bytes, ternzip_error* error);

/* The levels of a ternary tensor: info.level_blocks elements of its type for each sign, all bits 0 where a
 * block has no such level. The element in column c of row r (rows are indices of dimension 0; a tensor of
 * fewer than two dimensions is one row) belongs to block
 *
 *     r / level_rows * ceil(row size / level_columns) + c / level_columns.
 *
 * Each buffer has out_bytes, info.level_blocks * info.item_bytes or more. */
TERNZIP_API ternzip_status ternzip_decode_levels(const ternzip_file* file, size_t number, void* negative,
                                                 void* positive, size_t out_bytes, ternzip_error* error);

/* ---- Index lists ---- */

/* Which weights of a ternary layer are not zero, as ternzip's kernels for sparse layers take them.
 *
 * The tensor, of two dimensions or more, is `rows` outputs (dimension 0), in `groups` equal groups, by
 * `channels` inputs of a group (dimension 1) by `taps` weights of a kernel (the other dimensions). The
 * channels are cut into blocks of `block_channels`, the last maybe smaller. Within a block a weight has the
 * code (channel within the block) * taps + tap, below 32,768. There is a list of codes, ascending, for each
 * row, block and sign. They lie end to end in the order (group, block, row of the group, +1 before -1); list
 * i is codes[starts[i]] to codes[starts[i + 1] - 1]. */
typedef struct ternzip_index_layout {
  size_t rows;
  size_t groups;
  size_t channels;
  size_t taps;
  size_t block_channels;
  size_t codes;  /* how many there are: one for each weight that is not zero */
  size_t starts; /* 2 * rows * blocks of channels + 1 */
} ternzip_index_layout;

/* The layout for a tensor. `groups` is what the layer has (1 where it has none) and must divide the rows;
 * block_channels 0 chooses blocks of some 180 weights, which stay in the first cache. Tensors of 2^31 weights
 * or more have none. */
TERNZIP_API ternzip_status ternzip_index(const ternzip_file* file, size_t number, size_t groups,
                                         size_t block_channels, ternzip_index_layout* layout,
                                         ternzip_error* error);

/* Decodes a tensor into lists of a layout that ternzip_index gave for it: codes[layout->codes] and
 * starts[layout->starts]. Takes info.elements bytes of memory meanwhile. */
TERNZIP_API ternzip_status ternzip_decode_index(const ternzip_file* file, size_t number,
                                                const ternzip_index_layout* layout, uint16_t* codes,
                                                uint32_t* starts, ternzip_error* error);

/* ---- Metadata and extensions ---- */

/* How many entries the metadata has. 0 for NULL. */
TERNZIP_API size_t ternzip_metadata_count(const ternzip_file* file);

/* Key and value of an entry; keys are unique. */
TERNZIP_API ternzip_status ternzip_metadata(const ternzip_file* file, size_t number, ternzip_text* key,
                                            ternzip_text* value, ternzip_error* error);

/* Extensions are named bytes beside the tensors, for programs that know the name. How many there are; 0 for
 * NULL. */
TERNZIP_API size_t ternzip_extension_count(const ternzip_file* file);

/* Name and size of an extension; names are unique. */
TERNZIP_API ternzip_status ternzip_extension(const ternzip_file* file, size_t number, ternzip_text* name,
                                             uint64_t* bytes, ternzip_error* error);

/* Reads an extension; `out_bytes` must be what ternzip_extension said or more. `out` may be NULL for none. */
TERNZIP_API ternzip_status ternzip_read_extension(const ternzip_file* file, size_t number, void* out,
                                                  size_t out_bytes, ternzip_error* error);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* TERNZIP_H */
