package token

import "strings"

// Limits of SPIFFE-ID 2.3.
const (
	maxSPIFFEID    = 2048
	maxTrustDomain = 255

	spiffeScheme = "spiffe://"
)

// SPIFFEID is the name of a workload: spiffe://trust-domain/path. Two are the
// same if and only if they are ==; the zero value names nobody.
type SPIFFEID struct {
	text   string
	domain uint8 // length of the trust domain
}

// ParseSPIFFEID reads an ID by SPIFFE-ID 2, byte by byte: the scheme and a
// trust domain of lower-case letters, digits, dots, dashes and underscores,
// then segments of the same and upper-case letters. So it has no user, port,
// query, fragment or percent-escape; no segment is empty, "." or "..". An ID
// without a path names the trust domain itself. It does not copy s.
func ParseSPIFFEID(s string) (id SPIFFEID, ok bool) {
	rest, ok := strings.CutPrefix(s, spiffeScheme)
	if !ok || len(s) > maxSPIFFEID {
		return SPIFFEID{}, false
	}
	domain, path, hasPath := strings.Cut(rest, "/")
	if domain == "" || len(domain) > maxTrustDomain || !spiffeBytes(domain, false) {
		return SPIFFEID{}, false
	}
	for more := hasPath; more; {
		var segment string
		segment, path, more = strings.Cut(path, "/")
		if segment == "" || segment == "." || segment == ".." || !spiffeBytes(segment, true) {
			return SPIFFEID{}, false
		}
	}
	return SPIFFEID{s, uint8(len(domain))}, true
}

func spiffeBytes(s string, upper bool) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '.', c == '-', c == '_':
		case upper && c >= 'A' && c <= 'Z':
		default:
			return false
		}
	}
	return true
}

// String is the ID as it was read, "" for the zero value.
func (id SPIFFEID) String() string { return id.text }

// TrustDomain is the name of its trust domain.
func (id SPIFFEID) TrustDomain() string {
	if id.text == "" {
		return ""
	}
	return id.text[len(spiffeScheme) : len(spiffeScheme)+int(id.domain)]
}

// Path begins with a slash, or is "".
func (id SPIFFEID) Path() string {
	if id.text == "" {
		return ""
	}
	return id.text[len(spiffeScheme)+int(id.domain):]
}
