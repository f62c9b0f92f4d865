#!/bin/bash -
# SPDX-License-Identifier: BSD-3-Clause
# What the plugin is as a shared object: it exports what nbdkit looks for
# and nothing else, because nbdkit loads plugins so that their symbols bind
# across modules; and it stays in memory (see plugin/Makefile.am).

. ./functions.sh
set -e
set -x
requires nm --version
requires readelf --version
tmpdir

nm -D --defined-only "$plugin" | awk '{ print $3 }' | sed 's/@.*//' | sort >"$tmp/symbols"
cat "$tmp/symbols"
grep -qx plugin_init "$tmp/symbols"
if grep -vE '^(plugin_init|vdi_debug_[a-z]+)$' "$tmp/symbols"; then
    fail "these symbols should be hidden"
fi

readelf -d "$plugin" | grep FLAGS_1 | grep NODELETE

# Every debug flag of the manual is there, and the other way round.
sed -n 's/^=item B<-D vdi\.\([a-z]*\)=1>$/vdi_debug_\1/p' \
    "$top_srcdir/nbdkit-vdi-plugin.pod" | sort >"$tmp/manual"
grep '^vdi_debug_' "$tmp/symbols" | diff - "$tmp/manual"
