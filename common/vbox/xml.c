/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading XML carefully: see xml.h.
 *
 * libxml2 calls us at each element (SAX), so that no tree is built and
 * we are asked before anything is nested too deep.  Its own limits must
 * be off (XML_PARSE_HUGE), because the snapshots and differencing images
 * that VirtualBox allows nest deeper than they do; ours take their place:
 * XML_MAX_BYTES, XML_MAX_DEPTH, MAX_ATTRIBUTES, MAX_NAMESPACES, and no
 * DOCTYPE, hence no entities.
 *
 * Its xmlTextReader would be less to write, but takes time in the square
 * of the length of a tag or comment: it hands the file on in pieces of 512
 * bytes, and at each libxml2 2.9 looks again for the end from the beginning
 * (16 MiB: minutes).  It also follows the declarations of a DOCTYPE before
 * it says that there is one.
 */
#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <libxml/parser.h>
#include <libxml/xmlerror.h>

#include "utils/checked.h"
#include "utils/cleanup.h"
#include "utils/file.h"
#include "vbox/xml.h"

/* The time libxml2 takes grows with the square of these. */
#define MAX_ATTRIBUTES 1000     /* of one element */
#define MAX_NAMESPACES 1000     /* declared in the whole file */

struct xml {
  const char *filename;
  xmlParserCtxtPtr ctxt;
  xml_start_fn start;
  void *opaque;
  const xmlChar **attributes;   /* of the element that is told: name,... */
  int nr_attributes;            /* ...prefix, namespace, start, end of each */
  unsigned namespaces;          /* declared so far */
  bool failed;                  /* then *error is set... */
  long failed_at;               /* ...about here, in bytes */
  struct vdi_error *error;
};

void
xml_fail (struct xml *x, const char *fs, ...)
{
  char text[VDI_ERROR_MAX];
  va_list args;

  if (x->failed)
    return;
  va_start (args, fs);
  vsnprintf (text, sizeof text, fs, args);
  va_end (args);
  vdi_set_error (x->error, EINVAL, "%s: line %d: %s", x->filename,
                 x->ctxt && x->ctxt->input ? x->ctxt->input->line : 0, text);
  x->failed = true;
  x->failed_at = xmlByteConsumed (x->ctxt);
  xmlStopParser (x->ctxt);
}

void
xml_fail_memory (struct xml *x)
{
  if (x->failed)
    return;
  xml_fail (x, "out of memory");
  x->error->err = ENOMEM;
}

bool
xml_failed (const struct xml *x)
{
  return x->failed;
}

char *
xml_attribute (struct xml *x, const char *name)
{
  const xmlChar **a = x->attributes;
  char *value;
  int i;

  for (i = 0; i < x->nr_attributes; ++i, a += 5)
    if (strcmp ((const char *) a[0], name) == 0)
      break;
  if (i == x->nr_attributes || x->failed)
    return NULL;
  value = strndup ((const char *) a[3], a[4] - a[3]);
  if (value == NULL)
    xml_fail_memory (x);
  return value;
}

/*------------------------------------------------------------------*/
/* What libxml2 calls */

static void
on_start (void *opaque, const xmlChar *name, const xmlChar *prefix,
          const xmlChar *uri, int nr_namespaces, const xmlChar **namespaces,
          int nr_attributes, int nr_defaulted, const xmlChar **attributes)
{
  struct xml *x = opaque;
  const int depth = x->ctxt->nameNr + 1;

  (void) prefix;
  (void) uri;
  (void) namespaces;
  (void) nr_defaulted;
  x->attributes = attributes;
  x->nr_attributes = nr_attributes;
  x->namespaces += nr_namespaces;
  if (x->namespaces > MAX_NAMESPACES)
    xml_fail (x, "there are more than %d declarations of namespaces",
              MAX_NAMESPACES);
  else if (depth > XML_MAX_DEPTH)
    xml_fail (x, "elements are nested deeper than %d", XML_MAX_DEPTH);
  else if (!x->failed)
    x->start (x->opaque, x, depth, (const char *) name);
}

/* At "<!DOCTYPE", before any of its declarations is looked at. */
static void
on_doctype (void *opaque, const xmlChar *name, const xmlChar *external,
            const xmlChar *system)
{
  (void) name;
  (void) external;
  (void) system;
  xml_fail (opaque, "there is a DOCTYPE, which VirtualBox never writes");
}

#if LIBXML_VERSION >= 21200
static void
on_error (void *opaque, const xmlError *e)
#else
static void
on_error (void *opaque, xmlError *e)
#endif
{
  struct xml *x = opaque;
  const char *text = e->message ? e->message : "not well-formed XML";

  if (e->code == XML_ERR_NO_MEMORY)
    xml_fail_memory (x);
  else if (e->level == XML_ERR_FATAL)
    xml_fail (x, "%.*s", (int) MIN (strcspn (text, "\n"), 200), text);
}

/*------------------------------------------------------------------*/
/* The file */

/* Without this check libxml2 would guess at other encodings. */
static bool
looks_like_xml (const char *data, size_t size)
{
  const char *p = data;

  if (strncmp (p, "\xef\xbb\xbf", 3) == 0)
    p += 3;
  p += strspn (p, " \t\r\n");
  return *p == '<' && strlen (p) == size - (p - data);
}

static bool
holds (const char *data, size_t size, const char *text)
{
  return memmem (data, size, text, strlen (text)) != NULL;
}

/* After a crash a file may be empty, cut short or in part zeros.  True, and
 * why says so, if it looks like that.
 */
static bool
look_for_loss (const char *data, size_t size, char *why, size_t why_size)
{
  const size_t length = strlen (data);
  size_t end = size;

  while (end > 0 && data[end - 1] == '\0')
    end--;
  if (size == 0)
    snprintf (why, why_size, "is empty");
  else if (end == 0)
    snprintf (why, why_size, "holds nothing but %zu bytes of zeros", size);
  else if (!holds (data, size, "<VirtualBox") &&
           !holds (data, size, "</VirtualBox>"))
    return false;
  else if (length < size)
    snprintf (why, why_size, "holds zeros instead of text from byte %zu on",
              length);
  else if (!holds (data, size, "</VirtualBox>"))
    snprintf (why, why_size, "ends too early, after %zu bytes", size);
  else
    return false;
  return true;
}

/* Elements with very many attributes are refused before libxml2 sees
 * them.  As it stops at the first mistake, only well-formed files need
 * to be understood here.
 */
static bool
too_many_attributes (const char *p)
{
  while ((p = strchr (p, '<')) != NULL) {
    const char *end = NULL;
    unsigned n = 0;

    if (strncmp (p, "<!--", 4) == 0)
      end = strstr (p + 4, "-->");
    else if (strncmp (p, "<![CDATA[", 9) == 0)
      end = strstr (p + 9, "]]>");
    else if (strncmp (p, "<?", 2) == 0)
      end = strstr (p + 2, "?>");
    else
      for (++p; (p = strpbrk (p, "\"'>")) != NULL; ++p) {
        if (*p == '>') {
          end = p;
          break;
        }
        if (++n > MAX_ATTRIBUTES)
          return true;
        p = strchr (p + 1, *p);
        if (p == NULL)
          break;
      }
    if (end == NULL)
      return false;
    p = end;
  }
  return false;
}

/* The whole file, with a NUL behind it.  *data is to be freed in any case. */
static int
read_file (const char *filename, char **data, size_t *size,
           struct vdi_error *error)
{
  struct stat sb;
  CLEANUP_CLOSE const int fd = file_open (filename, 0, &sb);
  ssize_t n;

  if (fd == -1 && errno == EMEDIUMTYPE)
    return vdi_set_error (error, EINVAL, "%s: is not a file, %s", filename,
                          S_ISDIR (sb.st_mode)
                          ? "but a directory: name the .vbox file in it"
                          : "as the .vbox file of a VirtualBox machine is");
  if (fd == -1)
    return vdi_set_errno (error, errno, "%s", filename);
  if (sb.st_size > XML_MAX_BYTES)
    return vdi_set_error (error, EINVAL, "%s: is longer than %d MiB, as the "
                          ".vbox file of a VirtualBox machine never is",
                          filename, XML_MAX_BYTES >> 20);
  *data = malloc (sb.st_size + 1);
  n = *data != NULL ? file_read (fd, *data, sb.st_size) : -1;
  if (n == -1)
    return vdi_set_errno (error, errno, "%s", filename);
  (*data)[n] = '\0';
  *size = n;
  return 0;
}

static int
parse (struct xml *x, const char *data, size_t size)
{
  const xmlStructuredErrorFunc handler = xmlStructuredError;
  void *const context = xmlStructuredErrorContext;
  xmlSAXHandler sax = {
    .initialized = XML_SAX2_MAGIC,
    .startElementNs = on_start,
    .internalSubset = on_doctype,
  };

  /* That of this thread: what is out of memory outside of the parser
   * proper would be printed otherwise.
   */
  xmlSetStructuredErrorFunc (x, on_error);
  x->ctxt = xmlCreatePushParserCtxt (&sax, x, NULL, 0, NULL);
  if (x->ctxt == NULL)
    xml_fail_memory (x);
  else {
    /* XML_PARSE_NOENT: &amp; in attributes comes decoded, too.
     * XML_PARSE_IGNORE_ENC: whatever it claims, VirtualBox writes UTF-8
     * only.
     */
    xmlCtxtUseOptions (x->ctxt, XML_PARSE_NONET | XML_PARSE_HUGE |
                                XML_PARSE_NOENT | XML_PARSE_IGNORE_ENC);
    /* All at once: in pieces it would look for the end of a long element
     * again and again.
     */
    xmlParseChunk (x->ctxt, data, (int) size, 1);
    if (!x->ctxt->wellFormed)
      xml_fail (x, "not well-formed XML");
    if (x->ctxt->myDoc != NULL)
      xmlFreeDoc (x->ctxt->myDoc);
    xmlFreeParserCtxt (x->ctxt);
  }
  xmlSetStructuredErrorFunc (context, handler);
  return x->failed ? -1 : 0;
}

int
xml_read (const char *filename, xml_start_fn start, void *opaque,
          struct vdi_error *error)
{
  struct xml x = {
    .filename = filename, .start = start, .opaque = opaque, .error = error
  };
  CLEANUP_FREE char *data = NULL;
  char *last, lost[100];
  size_t size = 0;
  int r;

  if (read_file (filename, &data, &size, error) == -1)
    return -1;
  if (!looks_like_xml (data, size))
    r = vdi_set_error (error, EINVAL, "%s: is not XML in UTF-8, as the "
                       ".vbox file of a VirtualBox machine is", filename);
  else if (too_many_attributes (data))
    r = vdi_set_error (error, EINVAL, "%s: an element has more than %d "
                       "attributes", filename, MAX_ATTRIBUTES);
  else
    r = parse (&x, data, size);
  /* What is said of a place before the last tag, which is what a cut goes
   * through, is what matters.
   */
  last = strrchr (data, '<');
  if (r == -1 && error->err == EINVAL &&
      (x.failed_at == 0 || last == NULL || x.failed_at >= last - data) &&
      look_for_loss (data, size, lost, sizeof lost))
    vdi_set_error (error, EINVAL, "%s: %s, as after a crash or on a full disk: "
                   "it cannot be read as the .vbox file of a machine",
                   filename, lost);
  return r;
}
