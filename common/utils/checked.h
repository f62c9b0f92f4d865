/* SPDX-License-Identifier: BSD-3-Clause */
/* Arithmetic that may overflow is checked before it is believed.
 * Both return true on overflow, like the builtins they stand for.
 */
#ifndef VDI_CHECKED_H
#define VDI_CHECKED_H

#define ADD_OVERFLOW(a, b, r) __builtin_add_overflow ((a), (b), (r))
#define MUL_OVERFLOW(a, b, r) __builtin_mul_overflow ((a), (b), (r))

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

#define ROUND_DOWN(a, b) ((a) - (a) % (b))
#define ROUND_UP(a, b) ROUND_DOWN ((a) + (b) - 1, (b))

#define IS_POWER_OF_TWO(x) ((x) != 0 && ((x) & ((x) - 1)) == 0)

#endif /* VDI_CHECKED_H */
