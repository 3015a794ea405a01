package jose

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// What is wrong with a token. Parse and Verify wrap one of these.
var (
	ErrMalformed  = errors.New("not a strict compact JWS")
	ErrAlgorithm  = errors.New("algorithm refused")
	ErrKeyUnknown = errors.New("no such key")
	ErrSignature  = errors.New("signature does not verify")
)

// maxPart bounds the base64url text of a header, maxSignature that of a
// signature: RSA of 4096 bits needs 683.
const (
	maxPart      = (MaxObjectBytes*8 + 5) / 6
	maxSignature = 1024
)

// JWS is a token whose form is right. Nothing in it is verified before
// KeySet.Verify says so.
type JWS struct {
	Raw          string // the whole token; aliases what Parse was given
	SigningInput string // header.payload; aliases Raw
	Alg          string // in the spelling of Algorithm
	KeyID        string
	HasKeyID     bool
	Type         string // typ as it stands
	HasType      bool
	Header       *Object
	Claims       *Object
	Signature    []byte
}

// Parse reads a compact JWS (RFC 7515 section 7.1) whose payload is a JSON
// object. It fails with ErrMalformed, or with ErrAlgorithm where the form is
// right and alg is missing, none, HMAC or unknown. It does not verify.
func Parse(raw string) (*JWS, error) { return ParseLarge(raw, MaxObjectBytes) }

// ParseLarge is Parse for what is no credential and may have a payload of up to
// limit bytes: a security event token, a status list.
func ParseLarge(raw string, limit int) (*JWS, error) {
	t, payload, err := split(raw, limit)
	if err != nil {
		return nil, err
	}
	if t.Claims, err = parseObject(payload, limit); err != nil {
		return nil, malformed("payload: %v", err)
	}
	return t, t.judge()
}

// split takes a token apart and reads its header.
func split(raw string, limit int) (t *JWS, payload string, err error) {
	// Never strings.Split: a million dots would be a million strings
	// (CVE-2025-30204).
	first := strings.IndexByte(raw, '.')
	if first < 0 {
		return nil, "", malformed("no dot")
	}
	length := strings.IndexByte(raw[first+1:], '.')
	if length < 0 {
		return nil, "", malformed("one dot only")
	}
	second := first + 1 + length
	if strings.IndexByte(raw[second+1:], '.') >= 0 {
		return nil, "", malformed("more than three parts: a JWE or no JWS at all")
	}
	if first == 0 || length == 0 || first > maxPart || length > (limit*8+5)/6 || len(raw)-second-1 > maxSignature {
		return nil, "", malformed("a part is empty or too long")
	}
	header, err := decode(raw[:first])
	if err != nil {
		return nil, "", malformed("header: %v", err)
	}
	body, err := decode(raw[first+1 : second])
	if err != nil {
		return nil, "", malformed("payload: %v", err)
	}
	t = &JWS{Raw: raw, SigningInput: raw[:second]}
	if t.Signature, err = decode(raw[second+1:]); err != nil {
		return nil, "", malformed("signature: %v", err)
	}
	if t.Header, err = ParseObject(header); err != nil {
		return nil, "", malformed("header: %v", err)
	}
	return t, string(body), t.readHeader()
}

// readHeader reads the members that count. jwk, jku, x5u and x5c are the
// sender's word for its own key and stay unread (RFC 8725 section 3.10).
func (t *JWS) readHeader() error {
	for _, name := range [...]string{"crit", "b64", "zip"} {
		// RFC 7515 section 4.1.11: whoever does not know an extension refuses
		// it. We know none, and a crit that names none is wrong by itself.
		if t.Header.Has(name) {
			return malformed("header member %s", name)
		}
	}
	var err error
	if t.KeyID, t.HasKeyID, err = t.headerText("kid"); err != nil {
		return err
	}
	if t.Type, t.HasType, err = t.headerText("typ"); err != nil {
		return err
	}
	t.Alg, _, err = t.headerText("alg")
	return err
}

func (t *JWS) headerText(name string) (text string, there bool, err error) {
	v, there := t.Header.Get(name)
	text, ok := v.Text()
	if there && !ok {
		return "", false, malformed("header member %s is not a string", name)
	}
	return text, there, nil
}

// judge settles what only counts where the form is right otherwise.
func (t *JWS) judge() error {
	name, ok := Algorithm(t.Alg)
	if !ok && strings.ContainsFunc(t.Alg, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return malformed("alg %.32q", t.Alg) // no name at all
	}
	if !ok {
		return fmt.Errorf("%w: alg %.32q", ErrAlgorithm, t.Alg)
	}
	t.Alg = name
	if len(t.Signature) == 0 {
		return malformed("no signature")
	}
	return nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// base64url without padding; Strict refuses bits that do not count.
var base64url = base64.RawURLEncoding.Strict()

// decode reads base64url as RFC 7515 section 2 defines it: one text for one
// value. The library, strict as it is, skips line ends.
func decode(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("line end in base64url")
	}
	return base64url.DecodeString(text)
}
