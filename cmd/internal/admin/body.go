package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"unicode/utf8"
)

// item is one revocation as it was asked for: the members of its JSON object,
// "" where a member is absent (present ones are never empty but for reason).
type item struct {
	Kind, Value, Issuer, NotBefore, TTL, Reason string
	Force                                       bool
}

// order is a decoded POST body.
type order struct {
	items  []item
	array  bool // the body was an array, and so will be the answer
	faults faults
	short  faults // a ttl that tokens would outlive: the only fault that force forgives
}

// faults are what is wrong with a body, up to as many as a person reads.
type faults []fault

const maxFaults = 64

func (f *faults) add(pointer, format string, args ...any) {
	if len(*f) < maxFaults {
		*f = append(*f, fault{pointer, fmt.Sprintf(format, args...)})
	}
}

func tooManyItems() *problem {
	return &problem{Status: http.StatusRequestEntityTooLarge, Code: "too_large",
		Detail: fmt.Sprintf("at most %d revocations in one request; nothing was stored", maxItems)}
}

// readBody reads a JSON body of up to 4 MiB. No more than a few are in memory
// at once.
func (s *Server) readBody(w http.ResponseWriter, r *request) ([]byte, error) {
	if !r.isJSON() {
		return nil, &problem{Status: http.StatusUnsupportedMediaType, Code: "unsupported_media_type",
			Detail: "send Content-Type: application/json, uncompressed"}
	}
	tooLarge := &problem{Status: http.StatusRequestEntityTooLarge, Code: "too_large",
		Detail: fmt.Sprintf("the body is over %d bytes; nothing was stored", maxBody)}
	if r.ContentLength > maxBody {
		return nil, tooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, tooLarge
	case err != nil:
		return nil, invalid("the body can not be read to its end")
	}
	return body, nil
}

// strictJSON refuses what encoding/json would let through or quietly change:
// bytes that are no UTF-8, and surrogates without their other half, which it
// makes U+FFFD, so that two values could become one.
func strictJSON(body []byte) error {
	switch {
	case len(body) == 0:
		return invalid("the body is empty")
	case !utf8.Valid(body):
		return invalid("the body is not UTF-8")
	case !json.Valid(body):
		return invalid("the body is not one JSON value")
	case loneSurrogate(body):
		return invalid("the body has an escaped surrogate without its other half")
	}
	return nil
}

// loneSurrogate looks through the escapes of valid JSON.
func loneSurrogate(valid []byte) bool {
	half := func(i int, first byte) bool { // \uDxyz whose x is in [first, first+4)
		if i+6 > len(valid) || valid[i] != '\\' || valid[i+1] != 'u' || valid[i+2]|0x20 != 'd' {
			return false
		}
		x := valid[i+3]
		if x >= 'A' {
			x = x&^0x20 - 'A' + '9' + 1
		}
		return first <= x && x < first+4
	}
	const high, low = '8', '8' + 4
	for i := 0; i < len(valid); i++ {
		switch {
		case valid[i] != '\\':
		case half(i, low):
			return true
		case half(i, high):
			if !half(i+6, low) {
				return true
			}
			i += 11
		default:
			i++ // the escaped character
		}
	}
	return false
}

// decodeOrder reads one object or an array of them. Its error is a problem
// with the body as a whole; what is wrong with single members is in faults.
func decodeOrder(body []byte) (*order, error) {
	if err := strictJSON(body); err != nil {
		return nil, err
	}
	var o order
	dec := json.NewDecoder(bytes.NewReader(body))
	switch bytes.TrimLeft(body, " \t\r\n")[0] {
	case '{':
		o.items = append(o.items, o.object(dec, ""))
		return &o, nil
	case '[':
		o.array = true
	default:
		return nil, invalid("the body is neither an object nor an array of objects")
	}
	_, _ = dec.Token() // [
	for dec.More() {
		if len(o.items) == maxItems {
			return nil, tooManyItems()
		}
		o.items = append(o.items, o.object(dec, fmt.Sprintf("/%d", len(o.items))))
	}
	if len(o.items) == 0 {
		return nil, invalid("the array is empty")
	}
	return &o, nil
}

// object reads one revocation; the input is valid JSON, so that no error of
// the decoder is left but a value of another type.
func (o *order) object(dec *json.Decoder, at string) (it item) {
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil || raw[0] != '{' {
		o.faults.add(at, "is not an object")
		return it
	}
	in := json.NewDecoder(bytes.NewReader(raw))
	_, _ = in.Token() // {
	seen := make(map[string]bool, 8)
	for in.More() {
		token, _ := in.Token()
		name, _ := token.(string)
		var value json.RawMessage
		if err := in.Decode(&value); err != nil {
			o.faults.add(at, "can not be read")
			return it
		}
		if seen[name] {
			o.faults.add(at+"/"+pointerToken(name), "is there twice")
			continue
		}
		if seen[name] = true; len(seen) > maxFaults {
			return it // refused long since
		}
		o.member(&it, at, name, value)
	}
	return it
}

func (o *order) member(it *item, at, name string, value json.RawMessage) {
	var to *string
	switch name {
	case "kind":
		to = &it.Kind
	case "value":
		to = &it.Value
	case "issuer":
		to = &it.Issuer
	case "not_before":
		to = &it.NotBefore
	case "ttl":
		to = &it.TTL
	case "reason":
		to = &it.Reason
	case "force":
		if err := json.Unmarshal(value, &it.Force); err != nil || value[0] == 'n' {
			o.faults.add(at+"/force", "is not true or false")
		}
		return
	default:
		o.faults.add(at+"/"+pointerToken(name), "is no member of a revocation: kind, value, issuer, not_before, ttl, reason, force")
		return
	}
	if value[0] != '"' || json.Unmarshal(value, to) != nil {
		o.faults.add(at+"/"+name, "is not a string")
		return
	}
	if *to == "" && name != "reason" {
		o.faults.add(at+"/"+name, "is empty")
	}
}

// pointerToken escapes a member's name (RFC 6901, 3) and keeps it short.
func pointerToken(name string) string {
	out := make([]byte, 0, len(name))
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '~':
			out = append(out, "~0"...)
		case '/':
			out = append(out, "~1"...)
		default:
			out = append(out, name[i])
		}
		if len(out) >= 64 {
			break
		}
	}
	return string(bytes.ToValidUTF8(out, nil))
}
