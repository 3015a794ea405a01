package token

import (
	"net/url"
	"path"
	"strings"
	"testing"
)

func TestParseSPIFFEID(t *testing.T) {
	long := strings.Repeat("a", maxSPIFFEID-len("spiffe://td/"))
	for _, tc := range []struct{ id, domain, path string }{
		{"spiffe://td", "td", ""},
		{"spiffe://prod.example/ns/a/sa/b", "prod.example", "/ns/a/sa/b"},
		{"spiffe://t_d-1.x/A.b_c-1/...", "t_d-1.x", "/A.b_c-1/..."},
		{"spiffe://10.0.0.1/.a", "10.0.0.1", "/.a"},
		{"spiffe://td/" + long, "td", "/" + long},
		{"spiffe://" + strings.Repeat("d", maxTrustDomain) + "/x", strings.Repeat("d", maxTrustDomain), "/x"},
	} {
		id, ok := ParseSPIFFEID(tc.id)
		if !ok || id.String() != tc.id || id.TrustDomain() != tc.domain || id.Path() != tc.path {
			t.Errorf("%.40q: %.40q %.40q %.40q, %v", tc.id, id, id.TrustDomain(), id.Path(), ok)
		}
	}
	for name, bad := range map[string]string{
		"empty":                    "",
		"scheme alone":             "spiffe://",
		"no authority":             "spiffe:/td/a",
		"another scheme":           "https://td/a",
		"scheme in capitals":       "SPIFFE://td/a",
		"trust domain missing":     "spiffe:///a",
		"trust domain in capitals": "spiffe://Td/a",
		"port":                     "spiffe://td:443/a",
		"empty port":               "spiffe://td:/a",
		"user":                     "spiffe://u@td/a",
		"escape in the domain":     "spiffe://t%64/a",
		"bracket":                  "spiffe://[::1]/a",
		"domain beyond ASCII":      "spiffe://tü/a",
		"trailing slash":           "spiffe://td/",
		"slash behind the path":    "spiffe://td/a/",
		"empty segment":            "spiffe://td/a//b",
		"dot":                      "spiffe://td/./a",
		"dots":                     "spiffe://td/a/..",
		"dots in the middle":       "spiffe://td/a/../b",
		"escape":                   "spiffe://td/%61",
		"escaped dots":             "spiffe://td/%2e%2e/a",
		"query":                    "spiffe://td/a?b",
		"query without path":       "spiffe://td?b",
		"fragment":                 "spiffe://td/a#b",
		"empty fragment":           "spiffe://td/a#",
		"comma":                    "spiffe://td/a,b",
		"colon in the path":        "spiffe://td/a:b",
		"NUL":                      "spiffe://td/a\x00",
		"blank before":             " spiffe://td/a",
		"blank behind":             "spiffe://td/a ",
		"newline":                  "spiffe://td/a\n",
		"backslash":                `spiffe://td/a\b`,
		"path beyond ASCII":        "spiffe://td/ä",
		"not UTF-8":                "spiffe://td/\xff",
		"too long":                 "spiffe://td/" + long + "a",
		"trust domain too long":    "spiffe://" + strings.Repeat("d", maxTrustDomain+1) + "/x",
	} {
		if id, ok := ParseSPIFFEID(bad); ok || id != (SPIFFEID{}) {
			t.Errorf("%s: %q, %v", name, id, ok)
		}
	}
	if id := (SPIFFEID{}); id.TrustDomain() != "" || id.Path() != "" || id.String() != "" {
		t.Errorf("zero ID: %q %q", id.TrustDomain(), id.Path())
	}
}

// FuzzSPIFFEID holds the parser to net/url: what it takes has no part but
// scheme, host and path, and is written in one way only.
func FuzzSPIFFEID(f *testing.F) {
	for _, seed := range []string{"spiffe://td/a", "spiffe://td", "spiffe://t.d/a/../b", "spiffe://td:1/a", "spiffe://td/a?b#c", "spiffe://td/%61", "SPIFFE://TD/a/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, ok := ParseSPIFFEID(text)
		if !ok {
			return
		}
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "spiffe" || u.Host != id.TrustDomain() || u.Path != id.Path() || u.User != nil ||
			u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.RawPath != "" || u.String() != text || id.Path() != "" && path.Clean(id.Path()) != id.Path() {
			t.Errorf("%q: %+v, %v", text, u, err)
		}
	})
}
