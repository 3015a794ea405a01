package proof

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// normal is the normal form of a whole URI.
func normal(uri string) (string, bool) {
	t, ok := splitTarget(uri)
	if !ok {
		return "", false
	}
	text, ok := t.appendOrigin(nil)
	if !ok {
		return "", false
	}
	text, ok = appendPath(text, t.path)
	return string(text), ok
}

func TestHTU(t *testing.T) {
	for uri, want := range map[string]string{ // "": no form
		"https://api.example":                      "https://api.example/",
		"https://api.example/":                     "https://api.example/",
		"https://api.example?q":                    "https://api.example/",
		"https://api.example#f":                    "https://api.example/",
		"https://api.example/a?b=/../c#d":          "https://api.example/a",
		"https://api.example/a#?b":                 "https://api.example/a",
		"HTTPS://API.Example/Path":                 "https://api.example/Path",
		"https://api.example:443/a":                "https://api.example/a",
		"https://api.example:/a":                   "https://api.example/a",
		"https://api.example:80/a":                 "https://api.example:80/a",
		"https://api.example:0443/a":               "https://api.example:0443/a",
		"http://api.example:80/a":                  "http://api.example/a",
		"http://api.example:443/a":                 "http://api.example:443/a",
		"https://api.example:8443":                 "https://api.example:8443/",
		"https://api.example./a":                   "https://api.example./a",
		"https://%41pi.%65xample/a":                "https://api.example/a",
		"https://a%c3%A9.example/":                 "https://a%C3%A9.example/",
		"https://[2001:DB8::1]:443/a":              "https://[2001:db8::1]/a",
		"https://[2001:db8::1]:8443":               "https://[2001:db8::1]:8443/",
		"https://api.example/%7euser/%2d%2E%5f":    "https://api.example/~user/-._",
		"https://api.example/a%2fb%2Fc":            "https://api.example/a%2Fb%2Fc",
		"https://api.example/%c3%a9":               "https://api.example/%C3%A9",
		"https://api.example/%25%32%65":            "https://api.example/%252e", // once, not twice
		"https://api.example/a/./b":                "https://api.example/a/b",
		"https://api.example/a/../b":               "https://api.example/b",
		"https://api.example/a/%2e%2E/b":           "https://api.example/b",
		"https://api.example/..":                   "https://api.example/",
		"https://api.example/../../a":              "https://api.example/a",
		"https://api.example/a/..":                 "https://api.example/",
		"https://api.example/a/b/.":                "https://api.example/a/b/",
		"https://api.example/a/b/..":               "https://api.example/a/",
		"https://api.example/a//../b":              "https://api.example/a/b",
		"https://api.example//a//b/":               "https://api.example//a//b/",
		"https://api.example/.../..a/.b":           "https://api.example/.../..a/.b",
		"https://api.example/a;b=1,2/(c)+'!*":      "https://api.example/a;b=1,2/(c)+'!*",
		"https://api.example/A+b%20c":              "https://api.example/A+b%20c",
		"https://api.example/é":                    "https://api.example/é",
		`https://api.example/a\..\b`:               `https://api.example/a\..\b`,
		"https://api.example/a%":                   "",
		"https://api.example/a%4":                  "",
		"https://api.example/a%zz":                 "",
		"https://api.example/a b":                  "",
		"https://api.example/a\tb":                 "",
		"https://api.example/a\x00":                "",
		"https://api.example:port/":                "",
		"https://api.example:443:443/":             "",
		"https://me@api.example/":                  "",
		"https://me:pw@api.example/":               "",
		"https://api.example%40evil.example/":      "https://api.example%40evil.example/",
		"https://2001:db8::1/":                     "",
		"https://[2001:db8::1/":                    "",
		"https://[]/":                              "",
		"https://[::1]x/":                          "",
		"https://x[::1]/":                          "",
		"https:///a":                               "",
		"https://:443/a":                           "",
		"https://?a":                               "",
		"https:/api.example/a":                     "",
		"https:api.example":                        "",
		"//api.example/a":                          "",
		"/a":                                       "",
		"":                                         "",
		"ws://api.example/a":                       "",
		"ftp://api.example/a":                      "",
		"http\u017f://api.example/a":               "", // long s folds to s
		"file:///etc/passwd":                       "",
		"https://api.example/\u2215..\u2215secret": "https://api.example/\u2215..\u2215secret",
	} {
		got, ok := normal(uri)
		if ok != (want != "") || ok && got != want {
			t.Errorf("%q: %q, %v; want %q", uri, got, ok, want)
		}
		if naively, okNaive := naive(uri); ok != okNaive || ok && got != naively {
			t.Errorf("%q: %q, %v; naively %q, %v", uri, got, ok, naively, okNaive)
		}
	}
}

// The naive normaliser goes by the RFC's own words: the regular expression of
// RFC 3986, appendix B, and the five rules of 5.2.4 on two strings.
var (
	appendixB = regexp.MustCompile(`(?s)^(([^:/?#]+):)?(//([^/?#]*))?([^?#]*)(\?([^#]*))?(#(.*))?`)
	hostPort  = regexp.MustCompile(`^(\[[^\[\]@%]+\]|[^:@\[\]]+)(:[0-9]*)?$`)
	triplet   = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
	plain     = regexp.MustCompile(`^[A-Za-z0-9._~-]$`)
	control   = regexp.MustCompile("[\x00-\x20\x7f]")
	capital   = regexp.MustCompile(`[A-Z]`)
	upper     = regexp.MustCompile(`%..|[A-Z]`)
)

func naive(uri string) (string, bool) {
	part := appendixB.FindStringSubmatch(uri)
	scheme, authority, path := part[2], part[4], part[5]
	port := map[string]string{"http": ":80", "https": ":443"}[capital.ReplaceAllStringFunc(scheme, strings.ToLower)]
	address := hostPort.FindStringSubmatch(authority)
	bare := triplet.ReplaceAllString(authority+path, "")
	if port == "" || part[3] == "" || address == nil || strings.Contains(bare, "%") || control.MatchString(bare) {
		return "", false
	}
	host := upper.ReplaceAllStringFunc(decodeNaively(address[1]), func(s string) string {
		if s[0] == '%' {
			return s
		}
		return strings.ToLower(s)
	})
	if address[2] != port && address[2] != ":" {
		host += address[2]
	}
	return strings.ToLower(scheme) + "://" + host + removeDotSegments(decodeNaively(path)), true
}

func decodeNaively(text string) string {
	return triplet.ReplaceAllStringFunc(text, func(s string) string {
		var c byte
		for _, digit := range s[1:] {
			c = c<<4 | byte(strings.IndexRune("0123456789abcdef", []rune(strings.ToLower(string(digit)))[0]))
		}
		if plain.Match([]byte{c}) {
			return string(rune(c))
		}
		return strings.ToUpper(s)
	})
}

func removeDotSegments(in string) string {
	out := ""
	for in != "" {
		switch {
		case strings.HasPrefix(in, "/./"): // B
			in = in[2:]
		case in == "/.":
			in = "/"
		case strings.HasPrefix(in, "/../") || in == "/..": // C
			if in = in[3:]; in == "" {
				in = "/"
			}
			out = out[:max(strings.LastIndex(out, "/"), 0)]
		default: // E
			end := 1 + strings.Index(in[1:]+"/", "/")
			out, in = out+in[:end], in[end:]
		}
	}
	if out == "" {
		return "/"
	}
	return out
}

// judgeHTU holds one URI to the properties of a normal form.
func judgeHTU(t interface{ Fatalf(string, ...any) }, uri string) {
	got, ok := normal(uri)
	want, okWant := naive(uri)
	if ok != okWant || ok && got != want {
		t.Fatalf("%q: %q, %v; naively %q, %v", uri, got, ok, want, okWant)
	}
	if !ok {
		return
	}
	if again, ok := normal(got); !ok || again != got {
		t.Fatalf("%q: %q is no normal form: it becomes %q, %v", uri, got, again, ok)
	}
	if strings.ContainsAny(got, "?#") {
		t.Fatalf("%q: %q has a query or a fragment", uri, got)
	}
	if query, ok := normal(withoutQuery(uri) + "?x=/../#y"); !ok || query != got {
		t.Fatalf("%q: the query counts", uri)
	}
	// What it is compared with: itself as a request, and nothing else.
	named, _ := splitTarget(uri)
	if !(origins)(nil).name(uri, named.scheme, named.authority, named.path+"?q=1") && named.path != "" {
		t.Fatalf("%q does not name itself", uri)
	}
	if (origins)(nil).name(uri, named.scheme, named.authority, named.path+"/x") {
		t.Fatalf("%q names another path", uri)
	}
}

func TestHTUModel(t *testing.T) {
	pieces := []string{"http", "https", "HTTPS", "://", ":", "/", "/", ".", "..", "/../", "/./", "a", "B", "%2e", "%2E", "%2f", "%41", "%c3", "%", "?", "#", "@", "[", "]", "api.example", ":443", ":80", ":8443", "é", "\\", " ", ";", "~"}
	rapid.Check(t, func(t *rapid.T) {
		tail := strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 0, 12).Draw(t, "tail"), "")
		judgeHTU(t, rapid.SampledFrom([]string{"", "https://", "https://api.example", "http://a/"}).Draw(t, "head")+tail)
	})
}

func FuzzHTU(f *testing.F) {
	for _, seed := range []string{
		"https://api.example/a/./../%7e%2f?q#f", "HTTP://A:80", "https://[::1]:443/..", "https://a%41%ff/%2E%2e/", "https://me@a/", "/a", "https://a:/", "\x00", "https://a/%",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) { judgeHTU(t, uri) })
}

// TestOrigins: which scheme and authority count for which request.
func TestOrigins(t *testing.T) {
	parse := func(texts ...string) (all origins) {
		for _, text := range texts {
			o, err := parseOrigin(text)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, o)
		}
		return all
	}
	two := parse("https://api.example", "https://PAY.example:443/", "https://alt.example:8443")
	for _, tc := range []struct {
		all                     origins
		htu, scheme, host, path string
		want                    bool
	}{
		{nil, "https://api.example/a", "https", "api.example", "/a", true},
		{nil, "https://api.example/a", "https", "API.example:443", "/a?b", true},
		{nil, "https://api.example/a", "http", "api.example", "/a", false},
		{nil, "https://api.example/a", "", "api.example", "/a", false},
		{nil, "https://api.example/a", "https", "", "/a", false},
		{nil, "https://api.example/", "https", "api.example", "", true},
		{nil, "https://api.example/*", "https", "api.example", "*", false},
		{nil, "https://api.example/a", "https", "api.example", "https://api.example/a", false},
		{two, "https://api.example/a", "http", "api.example", "/a", true}, // TLS ends in front of Envoy
		{two, "https://api.example/a", "http", "api.example:10000", "/a", true},
		{two, "https://api.example/a", "http", "10.0.0.7:10000", "/a", true}, // and the host is rewritten
		{two, "https://pay.example/a", "http", "10.0.0.7:10000", "/a", true},
		{two, "https://alt.example:8443/a", "https", "alt.example:8443", "/a", true},
		{two, "https://alt.example/a", "https", "alt.example:8443", "/a", false},
		{two, "https://pay.example/a", "https", "api.example", "/a", false}, // a proof for one site is none for another
		{two, "https://pay.example/a", "https", "API.EXAMPLE.", "/a", false},
		{two, "https://evil.example/a", "https", "evil.example", "/a", false}, // DP05
		{two, "http://api.example/a", "http", "api.example", "/a", false},
		{two, "https://api.example/b", "https", "api.example", "/a", false},
	} {
		if got := tc.all.name(tc.htu, tc.scheme, tc.host, tc.path); got != tc.want {
			t.Errorf("%s for %s://%s%s with %v: %v", tc.htu, tc.scheme, tc.host, tc.path, tc.all, got)
		}
	}
	for _, bad := range []string{"", "api.example", "https://", "ws://api.example", "https://api.example/v1", "https://api.example?x", "https://api.example/#", "https://me@api.example", "https://*.example", "https://api.example:x"} {
		if o, err := parseOrigin(bad); err == nil {
			t.Errorf("%q: %+v", bad, o)
		}
	}
}
