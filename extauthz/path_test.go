package extauthz

import (
	"strings"
	"testing"
)

func TestCanonicalPath(t *testing.T) {
	for _, tc := range []struct{ sent, want string }{
		{"/", "/"},
		{"/a/b", "/a/b"},
		{"/a/", "/a/"},
		{"/a?x=/public", "/a"},
		{"/a?x=%2f..%2f;#", "/a"},
		{"/Admin", "/Admin"},
		{"/admin.", "/admin."},
		{"/a..b/.well-known/...", "/a..b/.well-known/..."},
		{"/%61dmin", "/admin"},
		{"/%41", "/A"},
		{"/a%20b", "/a%20b"},
		{"/a%2Db", "/a-b"},
		{"/%e4%bd%a0", "/%E4%BD%A0"},
		{"/你", "/%E4%BD%A0"},
		{"/a%24b", "/a$b"},
		{"/a$b", "/a$b"},
		{"/%2561dmin", "/%2561dmin"},
		{"/100%25", "/100%25"},
		{"/a%3Bb", "/a%3Bb"},
		{"/a%3fb", "/a%3Fb"},
		{"/a%2eb", "/a.b"},
		{"/~u/(x)!*'=+,:@&", "/~u/(x)!*'=+,:@&"},
	} {
		got, ok := canonicalPath(tc.sent)
		if !ok || got != tc.want {
			t.Errorf("canonicalPath(%q) = %q, %v; want %q", tc.sent, got, ok, tc.want)
		}
	}
}

// ambiguousPaths are the tricks of security.md PP01-PP05 and PP13.
var ambiguousPaths = []string{
	"", "*", "admin", "http://other.example/admin", "?x", "//admin", "///admin", "/a//b", "/a//",
	"/.", "/..", "/a/.", "/a/..", "/./admin", "/a/../admin", "/%2e/admin", "/%2e%2e/admin", "/.%2e/admin", "/a/%2E%2E",
	"/a%2fb", "/a%2Fb", "/a%5cb", "/a%5Cb", `/a\b`, `/a/..\admin`, "/a%00b", "/a%0ab", "/a%7fb", "/a\x00b", "/a\x1fb", "/a\x7fb", "/a b",
	"/a;v=1", "/admin;x=y/secret", "/a/..;/b", "/a#b", "/#",
	"/%252e%252e/admin", "/%252fadmin", "/%255cadmin", "/%2500", "/a%252eb", "/%25252fadmin", "/%2525252e", "/a%25252525252541b", "/%" + strings.Repeat("25", 50_000),
	"/%", "/%2", "/%zz", "/%4", "/a%g0", "/%u002e",
	"/%c0%ae%c0%ae/admin", "/%c0%af", "/%ff", "/\xff", "/\xc0\xae", "/%e4%bd", "/%ed%a0%80",
}

func TestAmbiguousPath(t *testing.T) {
	for _, path := range ambiguousPaths {
		if got, ok := canonicalPath(path); ok {
			t.Errorf("canonicalPath(%q) = %q, not refused", path, got)
		}
	}
}

// TestEveryEscape drives each byte through a single and a double escape: none
// may become a separator, a dot segment or a control byte.
func TestEveryEscape(t *testing.T) {
	for c := range 256 {
		for _, form := range []string{"/x/%", "/x/%25"} {
			path := form + strings.ToLower(string("0123456789abcdef"[c>>4])+string("0123456789abcdef"[c&15]))
			got, ok := canonicalPath(path)
			if !ok {
				continue
			}
			if again, ok := canonicalPath(got); !ok || again != got {
				t.Errorf("%q: canonical form %q is not stable: %q, %v", path, got, again, ok)
			}
			if strings.Count(got, "/") != 2 || strings.ContainsAny(got, "\\;#\x00") {
				t.Errorf("%q became %q", path, got)
			}
		}
	}
}

// FuzzCanonicalPath: the canonical form is its own canonical form and has no
// segment that a reader could take for another.
func FuzzCanonicalPath(f *testing.F) {
	for _, path := range ambiguousPaths {
		f.Add(path)
	}
	f.Add("/a%20b/%E4%BD%A0?x=1")
	f.Add("/%2561dmin")
	f.Fuzz(func(t *testing.T, path string) {
		got, ok := canonicalPath(path)
		if !ok {
			return
		}
		if again, ok := canonicalPath(got); !ok || again != got {
			t.Fatalf("%q -> %q -> %q, %v", path, got, again, ok)
		}
		for _, bad := range []string{"//", "/./", "/../", "\\", ";", "#", "?", "%2f", "%2F", "%5c", "%5C", "%00", "%2e", "%2E"} {
			if strings.Contains(got+"/", bad) && !strings.HasSuffix(got, "/") {
				t.Fatalf("%q -> %q holds %q", path, got, bad)
			}
		}
		for i := range len(got) {
			if got[i] <= ' ' || got[i] >= 0x7f {
				t.Fatalf("%q -> %q holds byte %#x", path, got, got[i])
			}
		}
	})
}

func TestCanonicalHost(t *testing.T) {
	for host, want := range map[string]string{
		"pay.example": "pay.example", "PAY.Example": "pay.example", "pay.example.": "pay.example",
		"pay.example:8443": "pay.example", "pay.example.:443": "pay.example", "127.0.0.1:80": "127.0.0.1",
		"[::1]:443": "[::1]", "[2001:DB8::1]": "[2001:db8::1]", "xn--bcher-kva.example": "xn--bcher-kva.example",
		"pay.example:": "pay.example", // an empty port is the default port (RFC 3986, 3.2.3)
	} {
		got, ok := canonicalHost(host)
		if !ok || got != want {
			t.Errorf("canonicalHost(%q) = %q, %v; want %q", host, got, ok, want)
		}
	}
	for _, host := range []string{
		"", ".", ":443", "a b", "user@pay.example", "pay.example/x", "pay.example:80:81", "pay.example:x", "pay.example:123456",
		"[::1", "[::1]x", "pay.example#", "pay.example?", "pay,example", "pay.example..", ".pay.example", "pay..example", "bücher.example", "a\x00b", `a\b`, "a%2eb",
	} {
		if got, ok := canonicalHost(host); ok {
			t.Errorf("canonicalHost(%q) = %q, not refused", host, got)
		}
	}
}

func TestPattern(t *testing.T) {
	for _, tc := range []struct {
		pattern, path string
		match         bool
	}{
		{"/x", "/x", true}, {"/x", "/x/", false}, {"/x", "/X", false}, {"/x", "/x/y", false},
		{"/x/*", "/x", false}, {"/x/*", "/xy", false}, {"/x/*", "/x/y", true}, {"/x/*", "/x/y/z", true},
		{"/*", "/", true}, {"/*", "/x", true},
		{"/ns/a/*", "/ns/ab/c", false},
		{"/caf%C3%A9", "/caf%C3%A9", true}, {"/café", "/caf%C3%A9", true},
	} {
		p, err := parsePattern(tc.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.match(tc.path); got != tc.match {
			t.Errorf("%q matches %q: %v", tc.pattern, tc.path, got)
		}
	}
	for _, bad := range []string{"", "x", "*", "/x*", "/*/x", "/x/**", "/a//b", "/a/../b", "/a?b", "/a;b", "/%2f", "http://h/x"} {
		if _, err := parsePattern(bad); err == nil {
			t.Errorf("pattern %q was taken", bad)
		}
	}
}
