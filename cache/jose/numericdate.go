package jose

import (
	"strconv"
	"strings"
	"time"
)

// MaxDate is the last second of the year 9999. Larger numbers wrap around in
// more than one library (security cases JC03, JC04).
const MaxDate = 253402300799

// NumericDate reads a NumericDate (RFC 7519 section 2) and drops its fraction.
// An exponent is refused: nobody writes one by honest means.
func (v Value) NumericDate() (t time.Time, ok bool) {
	whole, fraction, _ := strings.Cut(v.raw, ".")
	seconds, err := strconv.ParseUint(whole, 10, 64)
	if v.kind != Number || err != nil || seconds > MaxDate || strings.ContainsAny(fraction, "eE") {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0).UTC(), true
}
