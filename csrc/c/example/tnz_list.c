/* Lists a .tnz file, or writes the elements of one of its tensors to stdout:
 *
 *     tnz_list FILE [TENSOR]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ternzip.h>

enum { MAX_MEGABYTES = 1024 }; /* a file of a few kilobytes can stand for gigabytes */

static int complain(const char* what, const ternzip_error* error) {
  fprintf(stderr, "%s: %s\n", what, error->message);
  return EXIT_FAILURE;
}

/* Text from a file may hold anything, so what is not printable ASCII is escaped. */
static void print_text(ternzip_text text) {
  for (size_t i = 0; i < text.size; ++i) {
    const unsigned char byte = (unsigned char)text.data[i];
    if (byte < 0x20 || byte > 0x7E || byte == '\\') {
      printf("\\x%02x", (unsigned)byte);
    } else {
      putchar(byte);
    }
  }
}

static int print_tensor(const ternzip_file* file, size_t number, ternzip_error* error) {
  ternzip_tensor_info info;
  if (ternzip_tensor(file, number, &info, error) != TERNZIP_OK) return 0;
  print_text(info.name);
  printf(" %s [", ternzip_dtype_name(info.dtype));
  for (size_t i = 0; i < info.dimensions; ++i) {
    printf("%s%llu", i == 0 ? "" : ", ", (unsigned long long)info.shape[i]);
  }
  printf("] %llu bytes as %llu", (unsigned long long)info.bytes, (unsigned long long)info.stored_bytes);
  if (info.is_ternary) {
    printf(", %.1f %% zeros", 100.0 * (double)info.zero / (double)info.elements);
  }
  putchar('\n');
  return 1;
}

static int list(const ternzip_file* file, const char* path) {
  ternzip_error error;
  for (size_t i = 0; i < ternzip_tensor_count(file); ++i) {
    if (!print_tensor(file, i, &error)) return complain(path, &error);
  }
  for (size_t i = 0; i < ternzip_metadata_count(file); ++i) {
    ternzip_text key, value;
    if (ternzip_metadata(file, i, &key, &value, &error) != TERNZIP_OK) return complain(path, &error);
    print_text(key);
    printf(" = ");
    print_text(value);
    putchar('\n');
  }
  return EXIT_SUCCESS;
}

static int dump(const ternzip_file* file, const char* path, const char* name) {
  ternzip_error error;
  ternzip_tensor_info info;
  size_t number = 0;
  if (ternzip_find(file, name, strlen(name), &number, &error) != TERNZIP_OK ||
      ternzip_tensor(file, number, &info, &error) != TERNZIP_OK) {
    return complain(path, &error);
  }
  if (info.bytes > (uint64_t)MAX_MEGABYTES << 20) { /* so that it fits a size_t */
    fprintf(stderr, "%s: %s: larger than %d MB\n", path, name, MAX_MEGABYTES);
    return EXIT_FAILURE;
  }
  const size_t size = (size_t)info.bytes;
  void* const elements = malloc(size > 0 ? size : 1);
  int status = EXIT_FAILURE;
  if (elements == NULL) {
    fprintf(stderr, "%s: %s: out of memory\n", path, name);
  } else if (ternzip_decode(file, number, elements, size, &error) != TERNZIP_OK) {
    status = complain(path, &error);
  } else {
    fwrite(elements, 1, size, stdout); /* main looks at what became of it */
    status = EXIT_SUCCESS;
  }
  free(elements);
  return status;
}

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    fprintf(stderr, "usage: tnz_list FILE [TENSOR]\n");
    return 2;
  }
  ternzip_error error;
  ternzip_file* file = NULL;
  if (ternzip_open(argv[1], (uint64_t)MAX_MEGABYTES << 20, &file, &error) != TERNZIP_OK) {
    return complain(argv[1], &error);
  }
  int status = argc == 3 ? dump(file, argv[1], argv[2]) : list(file, argv[1]);
  ternzip_close(file);
  if (fflush(stdout) != 0 || ferror(stdout)) { /* what was buffered may not have found its place */
    perror("stdout");
    status = EXIT_FAILURE;
  }
  return status;
}
