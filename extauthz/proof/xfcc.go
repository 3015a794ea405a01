package proof

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Bounds of one x-forwarded-client-cert field. Envoy's own limit for all
// headers of a request is 60 KiB.
const (
	maxXFCC         = 64 << 10
	maxXFCCElements = 64  // proxies on the way
	maxXFCCPairs    = 512 // names of one certificate
)

// PeerCertificate is what the proxy says of the peer's certificate, in
// source.certificate or in XFCC. The zero value is a peer without one.
type PeerCertificate struct {
	Present     bool
	X5T         string // x5t#S256
	Certificate string // URL-encoded PEM, "" where XFCC came without Cert
	URI         string // XFCC's URI key
	URIs        int    // and how many there were: 0 where the proxy was not told to send names
}

// Peer reads source.certificate. ok is false for what is no certificate; ""
// is a peer without one.
func (c *Certificates) Peer(certificate string) (p PeerCertificate, ok bool) {
	if certificate == "" {
		return p, true
	}
	x5t, ok := c.Thumbprint(certificate)
	if !ok {
		return p, false
	}
	return PeerCertificate{Present: true, X5T: x5t, Certificate: certificate}, true
}

// ParseXFCC reads the value of an x-forwarded-client-cert field by the grammar
// of Envoy's documentation:
//
//	field   = element *( "," element )                  ; the nearest proxy's last
//	element = pair *( ";" pair )
//	pair    = key "=" ( bare / DQUOTE quoted DQUOTE )   ; key without case
//
// with \ before a quote and a backslash inside quotes, and no quote in a bare
// value. Of it the last element counts: where the proxy appends
// (APPEND_FORWARD, an Istio sidecar), those before are whatever the client
// wrote. They are only split off, and whether they hold pairs is not judged.
// Their quotes are: the client's open quote would reach into the last element.
//
// A value of white space is no certificate. ok is false, which is
// binding_mismatch, for a field that is too long, a quote that is not closed or
// out of place, a pair without key, two Hash, two Cert, an element with neither
// (Envoy always writes Hash), a Hash that is not the hex SHA-256 of a
// certificate, a Cert that is not one certificate, and a Hash of another one.
//
// Of several fields (Envoy joins them; raw mode could show more) give the last:
// its last element is the last of all. An empty last field is no certificate,
// whatever came before.
//
// What the grammar can not show: Envoy writes By and URI without quotes, so a
// CA that signs URI names with a comma lets their holders write an element of
// their own. SPIFFE IDs have none. source.certificate does not have the problem.
func ParseXFCC(value string) (p PeerCertificate, ok bool) { return (*Certificates)(nil).XFCC(value) }

// XFCC is ParseXFCC, remembered by the text of the last element: the elements
// before are free to choose for the client, and must not fill the table.
func (c *Certificates) XFCC(value string) (p PeerCertificate, ok bool) {
	if value = strings.Trim(value, " \t"); value == "" {
		return p, true
	}
	element, ok := lastElement(value)
	if !ok {
		return p, false
	}
	if c == nil || len(element) > maxElement {
		return readElement(element)
	}
	p, sum, ok := c.elements.get(element)
	if ok {
		return p, true
	}
	element = strings.Clone(element) // p points into it
	if p, ok = readElement(element); ok {
		c.elements.put(sum, element, p)
	}
	return p, ok
}

// lastElement is the element after the last comma outside quotes.
func lastElement(value string) (element string, ok bool) {
	if len(value) > maxXFCC {
		return "", false
	}
	start, elements := 0, 1
	for i := 0; ; {
		next := strings.IndexAny(value[i:], `,"`)
		if next < 0 {
			return strings.TrimLeft(value[start:], " \t"), true
		}
		i += next
		if value[i] == ',' {
			i++
			if start, elements = i, elements+1; elements > maxXFCCElements {
				return "", false
			}
			continue
		}
		if i == start || value[i-1] != '=' {
			return "", false
		}
		end := closing(value[i:])
		if end < 0 {
			return "", false
		}
		if i += end + 1; i < len(value) && value[i] != ',' && value[i] != ';' {
			return "", false
		}
	}
}

// closing is the place of the quote that ends the one s begins with, or -1. A
// backslash takes the next byte with it: Envoy writes Subject by RFC 2253,
// where the backslash itself is escaped too, so that one before a quote escapes
// it only where their number is odd.
func closing(s string) int {
	for i := 1; ; {
		next := strings.IndexByte(s[i:], '"')
		if next < 0 {
			return -1
		}
		i += next
		escapes := 0
		for s[i-1-escapes] == '\\' { // ends at the opening quote
			escapes++
		}
		if escapes%2 == 0 {
			return i
		}
		i++
	}
}

// readElement reads what is ours of an element.
func readElement(element string) (p PeerCertificate, ok bool) {
	var hash string
	for pairs := 1; ; pairs++ {
		key, value, rest, more, ok := cutPair(element)
		switch {
		case !ok || pairs > maxXFCCPairs:
			return PeerCertificate{}, false
		case strings.EqualFold(key, "Hash"):
			if hash != "" {
				return PeerCertificate{}, false
			}
			if hash, ok = hashThumbprint(value); !ok {
				return PeerCertificate{}, false
			}
		case strings.EqualFold(key, "Cert"):
			if p.Certificate != "" || value == "" {
				return PeerCertificate{}, false
			}
			p.Certificate = value
		case strings.EqualFold(key, "URI"):
			if p.URIs++; p.URIs == 1 {
				p.URI = value // empty where the certificate has no URI name
			}
		}
		if !more {
			break
		}
		element = rest
	}
	p.X5T = hash
	if p.Certificate != "" {
		x5t, ok := Thumbprint(p.Certificate)
		if !ok || hash != "" && hash != x5t {
			return PeerCertificate{}, false
		}
		p.X5T = x5t
	}
	if p.X5T == "" {
		return PeerCertificate{}, false
	}
	p.Present = true
	return p, true
}

// cutPair takes the first pair off an element. more tells whether a semicolon
// follows it.
func cutPair(element string) (key, value, rest string, more, ok bool) {
	key, rest, ok = strings.Cut(element, "=")
	if !ok || key == "" || strings.ContainsFunc(key, notKey) {
		return "", "", "", false, false
	}
	if !strings.HasPrefix(rest, `"`) {
		value, rest, more = strings.Cut(rest, ";")
		return key, value, rest, more, !strings.Contains(value, `"`)
	}
	end := closing(rest)
	if end < 0 {
		return "", "", "", false, false
	}
	value, rest = unescape(rest[1:end]), rest[end+1:]
	if rest == "" {
		return key, value, "", false, true
	}
	return key, value, rest[1:], true, rest[0] == ';'
}

// notKey tells what no key has; those there are consist of letters.
func notKey(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// unescape drops the backslashes before quotes and backslashes. Others stay:
// they are RFC 2253's.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\') {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// hashThumbprint turns Envoy's Hash into x5t#S256.
func hashThumbprint(text string) (x5t string, ok bool) {
	var sum [sha256.Size]byte
	if len(text) != hex.EncodedLen(len(sum)) {
		return "", false
	}
	if _, err := hex.Decode(sum[:], []byte(text)); err != nil {
		return "", false
	}
	return thumbprint(sum), true
}
