package observe

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/extauthz"
)

// maxField bounds what one member of a record takes of a client's text.
const maxField = 512

// appendRecord writes one decision as a line of JSON: ASCII only, whatever the
// client sent. Of identities it has digests, of the path no query, of
// credentials and cookies nothing.
func appendRecord(dst []byte, h *hasher, req *extauthz.Request, d *extauthz.Decision, now time.Time, took time.Duration) []byte {
	dst = append(dst, `{"time":"`...)
	dst = now.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z")
	dst = append(dst, '"')
	dst = member(dst, "decision_id", d.ID)
	dst = member(dst, "decision", d.Verdict.String())
	dst = member(dst, "reason", d.Reason.String())
	dst = append(dst, `,"enforced":`...)
	dst = strconv.AppendBool(dst, d.Enforced)
	dst = member(dst, "class", d.Class)
	dst = member(dst, "route", d.Route)
	dst = member(dst, "method", req.Method)
	dst = member(dst, "host", req.Host)
	path, _, _ := strings.Cut(req.Path, "?")
	dst = member(dst, "path", path)
	dst = member(dst, "peer", req.Peer)
	s := &d.Session
	dst = member(dst, "issuer", s.Issuer)
	dst = h.member(dst, "subject", s.Issuer, s.Sub)
	dst = h.member(dst, "session", s.Issuer, s.SID)
	dst = h.member(dst, "jti", s.Issuer, s.JTI)
	if d.Revoked != (cache.Hit{}) {
		dst = member(dst, "revocation", d.Revoked.Ref.String())
	}
	if d.Detail != "" {
		dst = member(dst, "detail", d.Detail)
	}
	dst = append(dst, `,"took_us":`...)
	dst = strconv.AppendInt(dst, took.Microseconds(), 10)
	return append(dst, '}', '\n')
}

func member(dst []byte, name, value string) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, name...)
	dst = append(dst, `":"`...)
	return append(escape(dst, value), '"')
}

const hexDigits = "0123456789abcdef"

// escape writes text for a JSON string in printable ASCII. Control bytes, what
// turns a terminal's text around, and everything else beyond ASCII are
// escaped; bytes that are no UTF-8 are written as U+FFFD. What is over the
// bound is cut, and three dots say so.
func escape(dst []byte, text string) []byte {
	cut := len(text) > maxField
	if cut {
		text = text[:maxField]
	}
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
			i++
		case c >= ' ' && c < 0x7f:
			dst = append(dst, c)
			i++
		default:
			r, n := utf8.DecodeRuneInString(text[i:])
			i += n
			if r > 0xffff {
				high, low := utf16.EncodeRune(r)
				dst = escapeUnit(escapeUnit(dst, high), low)
			} else {
				dst = escapeUnit(dst, r)
			}
		}
	}
	if cut {
		dst = append(dst, "..."...)
	}
	return dst
}

func escapeUnit(dst []byte, r rune) []byte {
	return append(dst, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}

// hasher turns identities into digests that can be compared with each other
// while this process lives, and with nothing else: the key is never stored.
// Any goroutine may use it.
type hasher struct{ idle sync.Pool }

// keyed is one HMAC-SHA-256 at work, with the memory that it needs.
type keyed struct {
	mac     hash.Hash
	scratch []byte
}

func newHasher() *hasher {
	key := make([]byte, sha256.Size)
	rand.Read(key)
	h := &hasher{}
	h.idle.New = func() any { return &keyed{mac: hmac.New(sha256.New, key)} }
	return h
}

// digestBytes of a digest are written: enough to tell identities apart.
const digestBytes = 16

// member writes an identity's digest, "" where there is no identity. name
// keeps a subject and a session of the same text apart.
func (h *hasher) member(dst []byte, name, issuer, value string) []byte {
	if value == "" {
		return member(dst, name, "")
	}
	k := h.idle.Get().(*keyed) //nolint:forcetypeassert // New's type
	defer h.idle.Put(k)
	b := k.scratch[:0]
	for _, part := range [...]string{name, issuer, value} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(part)))
		b = append(b, part...)
	}
	k.mac.Reset()
	k.mac.Write(b)
	k.scratch = k.mac.Sum(b[:0])
	dst = append(dst, ',', '"')
	dst = append(dst, name...)
	dst = append(dst, `":"`...)
	dst = base64.RawURLEncoding.AppendEncode(dst, k.scratch[:digestBytes])
	return append(dst, '"')
}
