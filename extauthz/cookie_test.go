package extauthz

import (
	"strings"
	"testing"
)

// cookies makes a request with these Cookie fields.
func cookies(fields ...string) *Request {
	req := &Request{Headers: []Header{{":method", "GET"}, {"x-cookie", "__Host-s=no"}}}
	for _, f := range fields {
		req.Headers = append(req.Headers, Header{"cookie", f}, Header{"accept", "__Host-s=no"})
	}
	return req
}

func TestCookieValue(t *testing.T) {
	const name = "__Host-s"
	for what, tc := range map[string]struct {
		fields []string
		value  string
		n      int
		ok     bool
	}{
		"no field":                {nil, "", 0, true},
		"empty field":             {[]string{""}, "", 0, true},
		"alone":                   {[]string{"__Host-s=v"}, "v", 1, true},
		"first":                   {[]string{"__Host-s=v; a=1"}, "v", 1, true},
		"last":                    {[]string{"a=1; __Host-s=v"}, "v", 1, true},
		"in the middle":           {[]string{"a=1; __Host-s=v; b=2"}, "v", 1, true},
		"without the blank":       {[]string{"a=1;__Host-s=v;b=2"}, "v", 1, true},
		"more blanks":             {[]string{"  a=1;  \t__Host-s=v"}, "v", 1, true},
		"empty pairs":             {[]string{";;__Host-s=v;;"}, "v", 1, true},
		"in a second field":       {[]string{"a=1", "__Host-s=v"}, "v", 1, true},
		"in the first of two":     {[]string{"__Host-s=v", "a=1"}, "v", 1, true},
		"every byte of a value":   {[]string{"__Host-s=!#$%&'()*+-./09:<=>?@AZ[]^_`az{|}~"}, "!#$%&'()*+-./09:<=>?@AZ[]^_`az{|}~", 1, true},
		"commas elsewhere":        {[]string{"a=1,2,3; __Host-s=v; b=4,5"}, "v", 1, true},
		"quotes elsewhere":        {[]string{`a="1"; __Host-s=v; b="`}, "v", 1, true},
		"other fields by a comma": {[]string{"a=1,b=2; __Host-s=v"}, "v", 1, true}, // map mode

		// CK04
		"twice":                            {[]string{"__Host-s=v; __Host-s=w"}, "", 2, false},
		"twice the same":                   {[]string{"__Host-s=v; __Host-s=v"}, "", 2, false},
		"in two fields":                    {[]string{"__Host-s=v", "__Host-s=w"}, "", 2, false},
		"in three":                         {[]string{"__Host-s=v", "a=1; __Host-s=w", "__Host-s=x"}, "", 3, false},
		"twice, the second empty":          {[]string{"__Host-s=v; __Host-s="}, "", 2, false},
		"twice, the first in quotes":       {[]string{`__Host-s="v"; __Host-s=v`}, "", 2, false},
		"twice, the second in quotes":      {[]string{`__Host-s=v; __Host-s="v"`}, "", 2, false},
		"in two fields joined by a comma":  {[]string{"__Host-s=v,__Host-s=w"}, "", 4, false},
		"twice, one behind a comma":        {[]string{"__Host-s=v; a=1,__Host-s=w"}, "", 3, false},
		"behind a comma":                   {[]string{"a=1,__Host-s=v"}, "", 2, false},
		"behind a comma and a blank":       {[]string{"a=1, __Host-s=v"}, "", 2, false},
		"behind a comma at the front":      {[]string{",__Host-s=v"}, "", 2, false},
		"before a comma":                   {[]string{"__Host-s=v,a=1"}, "", 2, false},
		"before a comma at the end":        {[]string{"__Host-s=v,"}, "", 2, false},
		"in quotes with a name inside":     {[]string{`a="x; __Host-s=v"`}, "", 1, false},
		"in quotes with a cookie inside":   {[]string{`a="x; __Host-s=v; y"`}, "v", 1, true}, // a pair by the grammar: quotes hold no semicolon
		"$Version, and a name in a string": {[]string{`$Version=1; a="x; __Host-s=w"; __Host-s=v`}, "", 2, false},

		// CK05
		"in quotes":                 {[]string{`__Host-s="v"`}, "", 1, false},
		"a quote before":            {[]string{`__Host-s="v`}, "", 1, false},
		"a quote behind":            {[]string{`__Host-s=v"`}, "", 1, false},
		"name in quotes":            {[]string{`"__Host-s"=v`}, "", 0, true},
		"$Version before":           {[]string{"$Version=1; __Host-s=v; $Path=/"}, "v", 1, true},
		"as $ attribute":            {[]string{"$__Host-s=v"}, "", 0, true},
		"nameless":                  {[]string{"=__Host-s=v"}, "", 0, true},
		"nameless behind another":   {[]string{"a=1; =__Host-s=v"}, "", 0, true},
		"name in lower case":        {[]string{"__host-s=v"}, "", 0, true},
		"name in upper case":        {[]string{"__HOST-S=v"}, "", 0, true},
		"name without its prefix":   {[]string{"s=v"}, "", 0, true},
		"a prefix of the name":      {[]string{"__Host-=v"}, "", 0, true},
		"a longer name":             {[]string{"__Host-s2=v"}, "", 0, true},
		"a name that ends in it":    {[]string{"x__Host-s=v"}, "", 0, true},
		"a name with a dot":         {[]string{"__Host-s.0=v"}, "", 0, true},
		"a blank behind the name":   {[]string{"__Host-s =v"}, "", 0, true},
		"NUL behind the name":       {[]string{"__Host-s\x00=v"}, "", 0, true},
		"no equals sign":            {[]string{"__Host-s"}, "", 0, true},
		"no equals sign, another":   {[]string{"__Host-s; a=v"}, "", 0, true},
		"in a value":                {[]string{"a=__Host-s=v"}, "", 0, true},
		"beside a name in any case": {[]string{"__host-s=w; __Host-s=v; __HOST-S=x"}, "v", 1, true},

		// Bytes that no value has.
		"empty":           {[]string{"__Host-s="}, "", 1, false},
		"a blank behind":  {[]string{"__Host-s=v ; a=1"}, "", 1, false},
		"a blank before":  {[]string{"__Host-s= v"}, "", 1, false},
		"a blank in it":   {[]string{"__Host-s=v w"}, "", 1, false},
		"a tab":           {[]string{"__Host-s=v\tw"}, "", 1, false},
		"a backslash":     {[]string{`__Host-s=v\w`}, "", 1, false},
		"NUL":             {[]string{"__Host-s=v\x00"}, "", 1, false},
		"a newline":       {[]string{"__Host-s=v\n"}, "", 1, false},
		"DEL":             {[]string{"__Host-s=v\x7f"}, "", 1, false},
		"beyond ASCII":    {[]string{"__Host-s=ü"}, "", 1, false},
		"not UTF-8":       {[]string{"__Host-s=\xff"}, "", 1, false},
		"a quote, behind": {[]string{`a=1; __Host-s=v"w; b=2`}, "", 1, false},

		// CK07
		"as many as there may be": {[]string{strings.Repeat("a=1; ", maxCookies-1) + "__Host-s=v"}, "v", 1, true},
		"one more":                {[]string{strings.Repeat("a=1; ", maxCookies) + "__Host-s=v"}, "", 0, false},
		"one more, ours first":    {[]string{"__Host-s=v; " + strings.Repeat("a=1; ", maxCookies)}, "", 0, false},
		"one more over fields":    {[]string{"__Host-s=v" + strings.Repeat(";", maxCookies-1), ""}, "", 0, false},
		"5000":                    {[]string{strings.Repeat("a=1; ", 4999) + "__Host-s=v"}, "", 0, false},
		"5000 by commas":          {[]string{strings.Repeat("a=1,", 4999) + "__Host-s=v"}, "", 0, false},
		"as long as it may be":    {[]string{"__Host-s=v; a=" + strings.Repeat("x", maxCookieBytes-len("__Host-s=v; a="))}, "v", 1, true},
		"longer":                  {[]string{"__Host-s=v; a=" + strings.Repeat("x", maxCookieBytes)}, "", 0, false},
		"longer over fields":      {[]string{"__Host-s=v", strings.Repeat("x", maxCookieBytes-9)}, "", 0, false},
		"100 KB":                  {[]string{"__Host-s=" + strings.Repeat("x", 100_000)}, "", 0, false},
	} {
		t.Run(what, func(t *testing.T) {
			value, n, ok := cookieValue(cookies(tc.fields...), name)
			if value != tc.value || n != tc.n || ok != tc.ok {
				t.Errorf("%q, %d, %v; want %q, %d, %v", value, n, ok, tc.value, tc.n, tc.ok)
			}
		})
	}
}

// TestCookieHeaderName: Envoy writes names in lower case; whoever does not is
// read all the same, so that nothing is hidden from the count.
func TestCookieHeaderName(t *testing.T) {
	req := &Request{Headers: []Header{{"Cookie", "s=v"}, {"COOKIE", "s=w"}, {"cookie2", "s=x"}, {"set-cookie", "s=y"}}}
	if _, n, _ := cookieValue(req, "s"); n != 2 {
		t.Errorf("%d cookies", n)
	}
}

func TestCookieValueAllocs(t *testing.T) {
	req := cookies("a=1; b=2,3", `c="4"; __Host-s=`+strings.Repeat("v", 900))
	if n := testing.AllocsPerRun(100, func() { cookieValue(req, "__Host-s") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzCookie holds the search to a slow one that splits everything first.
func FuzzCookie(f *testing.F) {
	for _, seed := range [][2]string{
		{"s=v", ""}, {"a=1; s=v", "b=2"}, {"s=v", "s=w"}, {"s=v,s=w", ""}, {"a=1,s=v; b", ""}, {`s="v"`, ""}, {"=s=v", "S=v"}, {"s", "s =v"}, {"s=;", "s=\xff"},
		{"\ts=v ;", ";,"}, {"s=v,", ",s=v"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		if len(first)+len(second) > maxCookieBytes {
			return
		}
		value, n, ok := cookieValue(cookies(first, second), "s")
		total, wantN, wantValue := 0, 0, ""
		for _, field := range []string{first, second} {
			for pair := range strings.SplitSeq(field, ";") {
				parts := strings.Split(pair, ",")
				total += len(parts)
				for _, part := range parts {
					key, v, found := strings.Cut(strings.TrimLeft(part, " \t"), "=")
					if !found || key != "s" {
						continue
					}
					wantValue = v
					if wantN++; len(parts) > 1 {
						wantN++
					}
				}
			}
		}
		wantOK := wantN < 2
		if wantN == 1 {
			wantOK = wantValue != "" && !strings.ContainsFunc(wantValue, func(r rune) bool {
				return r <= ' ' || r >= 0x7f || strings.ContainsRune("\",;\\", r)
			})
		}
		if !wantOK || wantN != 1 {
			wantValue = ""
		}
		if total > maxCookies {
			wantValue, wantN, wantOK = "", 0, false
		}
		if value != wantValue || n != wantN || ok != wantOK {
			t.Errorf("%q %q: %q, %d, %v; want %q, %d, %v", first, second, value, n, ok, wantValue, wantN, wantOK)
		}
	})
}
