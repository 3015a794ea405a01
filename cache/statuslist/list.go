package statuslist

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jose"
)

// Bounds of one list. 16 MiB are 134 million tokens of one bit each.
const (
	maxInflated = 16 << 20
	maxToken    = 24 << 20 // of its text: what hardly compresses, in base64url
)

// List is a Status List Token that was verified. It does not change.
type List struct {
	bits    uint8 // of a token's status: 1, 2, 4 or 8
	data    []byte
	issued  time.Time // iat
	expires time.Time // exp, zero where it has none
	ttl     time.Duration
}

// Value is the status of one token. ok is false beyond the end of the list.
// The least significant bits of a byte come first (section 4.1).
func (l *List) Value(index uint64) (value uint8, ok bool) {
	each := uint64(8 / l.bits)
	at := index / each
	if at >= uint64(len(l.data)) {
		return 0, false
	}
	shift := (index % each) * uint64(l.bits)
	return l.data[at] >> shift & (1<<l.bits - 1), true
}

// Valid tells whether a token's status is VALID (section 7.1). INVALID,
// SUSPENDED and whatever an application means by other values are not, and
// neither is a token that the list does not reach.
func (l *List) Valid(index uint64) bool {
	value, ok := l.Value(index)
	return ok && value == 0
}

// expected is what a list token is held to.
type expected struct {
	issuer, uri string
	algorithms  []string
	keys        *jose.KeySet
	now         time.Time
}

// skew is how far the issuer's clock may be ahead of ours.
const skew = time.Minute

// read verifies a Status List Token (sections 5.1 and 8.3).
func read(raw string, e *expected) (*List, error) {
	t, err := jose.ParseLarge(raw, maxToken)
	if err != nil {
		return nil, err
	}
	if typ := t.Type; typ != "statuslist+jwt" && typ != "application/statuslist+jwt" {
		return nil, fmt.Errorf("typ is %.40q, not statuslist+jwt", typ)
	}
	if !contains(e.algorithms, t.Alg) {
		return nil, fmt.Errorf("it is signed with %s, which the issuer's algorithms do not list", t.Alg)
	}
	if _, err := e.keys.Verify(t); err != nil {
		return nil, err
	}
	r := reader{claims: t.Claims}
	// The same text, and not the same URL: another list of the same host is
	// another list.
	if sub := r.text("sub"); sub != e.uri {
		return nil, fmt.Errorf("sub is %.200q: it is another list", sub)
	}
	if t.Claims.Has("iss") && r.text("iss") != e.issuer {
		return nil, errors.New("iss is another issuer")
	}
	l := &List{issued: r.date("iat", true), expires: r.date("exp", false), ttl: r.seconds("ttl")}
	lists, _ := t.Claims.Get("status_list")
	list, ok := lists.Object()
	if !ok {
		return nil, errors.New("status_list is missing or not an object")
	}
	inner := reader{claims: list}
	bits, encoded := inner.number("bits"), inner.text("lst")
	if err := errors.Join(r.err, inner.err); err != nil {
		return nil, err
	}
	switch {
	case l.issued.After(e.now.Add(skew)):
		return nil, errors.New("iat lies in the future")
	case !l.expires.IsZero() && !e.now.Before(l.expires):
		return nil, errors.New("it has expired")
	case bits != 1 && bits != 2 && bits != 4 && bits != 8:
		return nil, fmt.Errorf("bits is %d, not 1, 2, 4 or 8", bits)
	}
	l.bits = uint8(bits)
	l.data, err = inflate(encoded)
	return l, err
}

// inflate undoes base64url and zlib (RFC 1950), whose checksum counts. A
// megabyte of zeros is a kilobyte of text: what comes out is bounded, too.
func inflate(encoded string) ([]byte, error) {
	packed, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil, errors.New("lst is not base64url without padding")
	}
	source := bytes.NewReader(packed)
	z, err := zlib.NewReader(source)
	if err != nil {
		return nil, fmt.Errorf("lst is not zlib: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(z, maxInflated+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("lst is damaged: %w", err)
	case len(data) > maxInflated:
		return nil, fmt.Errorf("lst holds more than %d MiB", maxInflated>>20)
	case len(data) == 0:
		return nil, errors.New("lst is empty")
	case source.Len() > 0:
		return nil, errors.New("lst goes on after its end")
	}
	return bytes.Clone(data), nil // ReadAll leaves room behind it
}

// reader reads claims and remembers the first that is wrong.
type reader struct {
	claims *jose.Object
	err    error
}

func (r *reader) fail(name, what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%s is missing or not %s", name, what)
	}
}

func (r *reader) text(name string) string {
	v, _ := r.claims.Get(name)
	text, ok := v.Text()
	if !ok {
		r.fail(name, "a string")
	}
	return text
}

func (r *reader) date(name string, required bool) time.Time {
	v, there := r.claims.Get(name)
	if !there && !required {
		return time.Time{}
	}
	t, ok := v.NumericDate()
	if !ok {
		r.fail(name, "a time")
	}
	return t
}

// seconds reads a positive number of them; 0 where it is absent.
func (r *reader) seconds(name string) time.Duration {
	v, there := r.claims.Get(name)
	if !there {
		return 0
	}
	const most = 400 * 24 * 3600
	n, err := strconv.ParseFloat(v.Raw(), 64)
	if v.Kind() != jose.Number || err != nil || !(n > 0) {
		r.fail(name, "a positive number")
		return 0
	}
	return time.Duration(min(n, most) * float64(time.Second))
}

func (r *reader) number(name string) uint64 {
	v, _ := r.claims.Get(name)
	n, err := strconv.ParseUint(v.Raw(), 10, 64)
	if v.Kind() != jose.Number || err != nil {
		r.fail(name, "a whole number")
	}
	return n
}

func contains(list []string, word string) bool {
	for _, one := range list {
		if one == word {
			return true
		}
	}
	return false
}
