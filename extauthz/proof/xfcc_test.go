package proof

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// vector is one entry of testdata/certificates.json: the samples of Envoy's
// documentation, RFC 8705 and RFC 9440.
type vector struct {
	ID, Kind      string
	Value, Header string
	CertPEM       string `json:"cert_pem"`
	Expect        struct {
		Elements []map[string]any
		X5T      string `json:"x5t#S256"`
		HashHex  string `json:"xfcc_hash_hex"`
		SHA256   string `json:"sha256_hex"`
	}
}

func load(t testing.TB, name string, into any) {
	t.Helper()
	doc, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(doc, into); err != nil {
		t.Fatal(err)
	}
}

func TestCertificateVectors(t *testing.T) {
	var vectors []vector
	load(t, "certificates.json", &vectors)
	if len(vectors) < 6 {
		t.Fatalf("only %d vectors", len(vectors))
	}
	for _, v := range vectors {
		t.Run(v.ID, func(t *testing.T) {
			switch v.Kind {
			case "xfcc_parse":
				v.elements(t)
			case "x5t_s256":
				v.thumbprint(t, escape(v.CertPEM), v.Expect.HashHex)
			case "client_cert_header": // RFC 9440: only its certificate is ours
				der, err := base64.StdEncoding.DecodeString(strings.Trim(v.Header, ":"))
				if err != nil {
					t.Fatal(err)
				}
				v.thumbprint(t, pemOf(der), v.Expect.SHA256)
			default:
				t.Fatalf("unknown kind %s", v.Kind)
			}
		})
	}
}

// thumbprint holds a certificate's thumbprint to the vector's, by each way that
// it can arrive.
func (v *vector) thumbprint(t *testing.T, certificate, hash string) {
	for name, value := range map[string]string{
		"Hash": "Hash=" + hash,
		"Cert": `Cert="` + certificate + `"`,
		"both": "Hash=" + hash + `;Cert="` + certificate + `"`,
	} {
		if p, ok := ParseXFCC(value); !ok || p.X5T != v.Expect.X5T {
			t.Errorf("XFCC with %s: %q, %v; want %q", name, p.X5T, ok, v.Expect.X5T)
		}
	}
	var none *Certificates
	if p, ok := none.Peer(certificate); !ok || p.X5T != v.Expect.X5T || p.Certificate != certificate {
		t.Errorf("source.certificate: %+v, %v; want %q", p, ok, v.Expect.X5T)
	}
}

// elements reads a whole header by cutting the last element off until none is
// left, and each element to its last pair.
func (v *vector) elements(t *testing.T) {
	var got []map[string]any
	for value := v.Value; value != ""; {
		element, ok := lastElement(value)
		if !ok {
			t.Fatalf("no last element in %q", value)
		}
		value = strings.TrimSuffix(strings.TrimSuffix(value, element), ",")
		pairs := map[string]any{}
		for more := true; more; {
			var key, text string
			if key, text, element, more, ok = cutPair(element); !ok {
				t.Fatalf("no pair in %q", element)
			}
			switch key {
			case "By", "URI", "DNS":
				list, _ := pairs[key].([]any)
				pairs[key] = append(list, text)
			default:
				pairs[key] = text
			}
		}
		got = append([]map[string]any{pairs}, got...)
	}
	if diff := cmp.Diff(v.Expect.Elements, got); diff != "" {
		t.Error(diff)
	}
}

// escape writes PEM as Envoy does.
func escape(text string) string {
	return strings.NewReplacer("\n", "%0A", " ", "%20", "+", "%2B", "/", "%2F", "=", "%3D").Replace(text)
}

// TestRecordedXFCC reads what real Envoys sent: SANITIZE_SET with every detail,
// APPEND_FORWARD behind a forged element, and an Istio sidecar behind another.
func TestRecordedXFCC(t *testing.T) {
	var recorded []struct{ ID, Value, Certificate string }
	load(t, "recorded.json", &recorded)
	if len(recorded) < 3 {
		t.Fatalf("only %d", len(recorded))
	}
	var none *Certificates
	want, ok := none.Peer(recorded[0].Certificate)
	if !ok {
		t.Fatal("recorded source.certificate was not read")
	}
	for _, r := range recorded {
		p, ok := ParseXFCC(r.Value)
		if !ok || !p.Present || p.X5T != want.X5T || p.URIs != 1 || p.URI != "spiffe://cluster.local/ns/prod/sa/alice" {
			t.Errorf("%s: %+v, %v", r.ID, p, ok)
		}
		if p.Certificate != "" && p.Certificate != want.Certificate {
			t.Errorf("%s: another Cert than source.certificate", r.ID)
		}
	}
}

func TestParseXFCC(t *testing.T) {
	alice, bob := newLeaf(t, nil), newLeaf(t, nil)
	hash := "Hash=" + alice.hash
	cert := `Cert="` + alice.pem + `"`
	none := PeerCertificate{}
	mine := PeerCertificate{Present: true, X5T: alice.x5t}
	named := PeerCertificate{Present: true, X5T: alice.x5t, URI: "spiffe://td/alice", URIs: 1}
	whole := PeerCertificate{Present: true, X5T: alice.x5t, Certificate: alice.pem}
	nameless := PeerCertificate{Present: true, X5T: alice.x5t, URIs: 1}
	two := PeerCertificate{Present: true, X5T: alice.x5t, URI: "spiffe://td/alice", URIs: 2}

	for name, tc := range map[string]struct {
		value string
		want  PeerCertificate
	}{
		"none":                              {"", none},
		"white space":                       {" \t ", none},
		"hash":                              {hash, mine},
		"hash in capitals":                  {"Hash=" + strings.ToUpper(alice.hash), mine},
		"keys in any case":                  {"hAsH=" + alice.hash + ";uRi=spiffe://td/alice", named},
		"quoted hash":                       {`Hash="` + alice.hash + `"`, mine},
		"cert":                              {cert, whole},
		"cert without quotes":               {"Cert=" + alice.pem, whole},
		"hash and cert":                     {hash + ";" + cert, whole},
		"cert and hash":                     {cert + ";" + hash, whole},
		"name":                              {hash + ";URI=spiffe://td/alice", named},
		"quoted name":                       {hash + `;URI="spiffe://td/alice"`, named},
		"two names":                         {hash + ";URI=spiffe://td/alice;URI=spiffe://td/bob", two},
		"no name":                           {hash + ";URI=", nameless},
		"keys that are not ours":            {"By=urn:x;By=urn:y;" + hash + `;DNS=a;DNS=b;Chain="x";Subject="";New-Key_2=`, mine},
		"equals sign in a bare value":       {hash + ";DNS=a=b", mine},
		"separators in a subject":           {hash + `;Subject="CN=a,b;Hash=` + bob.hash + `,By=x"`, mine},
		"quote in a subject":                {hash + `;Subject="CN=a\",Hash=` + bob.hash + `;b=\""`, mine},
		"subject that ends with backslash":  {`Subject="CN=a\\";` + hash, mine},
		"subject of backslash and quote":    {`Subject="CN=a\\\"";` + hash, mine},
		"RFC 2253 escapes":                  {`Subject="CN=a\,b\;c\=d\20";` + hash, mine},
		"forged first":                      {"By=spiffe://evil;Hash=" + bob.hash + ";URI=spiffe://td/admin," + hash + ";URI=spiffe://td/alice", named},
		"forged with quotes":                {`Subject="a,b";Hash=` + bob.hash + "," + hash, mine},
		"forged without sense":              {"garbage;;=,,," + hash, mine},
		"forged with a backslash":           {`By=x\,` + hash, mine},
		"joined with blanks":                {"Hash=" + bob.hash + ", \t" + hash, mine},
		"blanks around":                     {"  " + hash + " ", mine},
		"as many elements as there may be":  {strings.Repeat("x,", maxXFCCElements-1) + hash, mine},
		"as many pairs as there may be":     {strings.Repeat("DNS=x;", maxXFCCPairs-1) + hash, mine},
		"as long as it may be":              {strings.Repeat("x", maxXFCC-len(hash)-1) + "," + hash, mine},
		"last one forged by nobody we know": {hash + "," + "Hash=" + bob.hash, PeerCertificate{Present: true, X5T: bob.x5t}},
	} {
		t.Run(name, func(t *testing.T) {
			known := NewCertificates()
			for range 2 {
				for from, read := range map[string]func(string) (PeerCertificate, bool){"parsed": ParseXFCC, "remembered": known.XFCC} {
					if p, ok := read(tc.value); !ok || p != tc.want {
						t.Errorf("%s: %+v, %v; want %+v", from, p, ok, tc.want)
					}
				}
			}
		})
	}

	for name, value := range map[string]string{
		"two hashes":                     hash + ";" + hash,
		"two hashes in two cases":        hash + ";hash=" + alice.hash,
		"two certs":                      cert + ";" + cert,
		"hash of another certificate":    "Hash=" + bob.hash + ";" + cert,
		"no hash and no cert":            "By=x;URI=spiffe://td/alice",
		"empty hash":                     "Hash=",
		"empty quoted hash":              `Hash=""`,
		"short hash":                     "Hash=aa",
		"long hash":                      hash + "00",
		"hash not in hex":                "Hash=" + strings.Repeat("zz", 32),
		"hash in base64url":              "Hash=" + alice.x5t,
		"hash with a blank":              "Hash= " + alice.hash,
		"empty cert":                     hash + `;Cert=""`,
		"cert twice in one":              `Cert="` + alice.pem + bob.pem + `"`,
		"cert behind a broken one":       `Cert="-----BEGIN%20CERTIFICATE-----%0A%21%0A-----END%20CERTIFICATE-----%0A` + alice.pem + `"`,
		"cert behind text":               `Cert="x%0A` + alice.pem + `"`,
		"cert before text":               `Cert="` + alice.pem + `x"`,
		"cert with a bad escape":         `Cert="` + alice.pem + `%zz"`,
		"chain alone":                    `Chain="` + alice.pem + `"`,
		"quote not closed":               hash + `;Subject="CN=a`,
		"quote not closed but escaped":   hash + `;Subject="CN=a\"`,
		"client's quote not closed":      `By="x,` + hash,
		"client's quote, our subject":    `By="x,` + hash + `;Subject="CN=alice"`,
		"client's quote, empty subject":  `By="x,` + hash + `;Subject=""`,
		"client's quote, our cert":       `By="x,` + hash + ";" + cert,
		"client's escape at the end":     `By="x\,` + hash + `;Subject="CN=alice"`,
		"quote in a bare value":          hash + `;DNS=a"b"`,
		"quote after an inner equals":    hash + `;DNS=a="b"`,
		"text behind a quote":            hash + `;Subject="a"b`,
		"blank behind a quote":           hash + `;Subject="a" ;DNS=b`,
		"quote first":                    `"Hash"=` + alice.hash,
		"no key":                         hash + ";=x",
		"no equals sign":                 hash + ";None",
		"key with a blank":               "Hash =" + alice.hash,
		"blank before a key":             "By=x; " + hash,
		"semicolon at the end":           hash + ";",
		"semicolon at the end of quotes": hash + `;Subject="a";`,
		"semicolon first":                ";" + hash,
		"comma at the end":               hash + ",",
		"only a comma":                   ",",
		"NUL in a key":                   "Hash\x00=" + alice.hash,
		"too many elements":              strings.Repeat("x,", maxXFCCElements) + hash,
		"too many pairs":                 strings.Repeat("DNS=x;", maxXFCCPairs) + hash,
		"too long":                       strings.Repeat("x", maxXFCC-len(hash)) + "," + hash,
	} {
		t.Run(name, func(t *testing.T) {
			known := NewCertificates()
			for range 2 {
				if p, ok := known.XFCC(value); ok || p != none {
					t.Errorf("%+v, %v", p, ok)
				}
			}
		})
	}
}

// TestXFCCRemembersTheLastElement: whatever the client writes before it, the
// proxy's element is found again, without allocating, and nothing is kept for
// the client's.
func TestXFCCRemembersTheLastElement(t *testing.T) {
	alice := newLeaf(t, nil)
	known := NewCertificates()
	ours := `By=spiffe://td/gw;Hash=` + alice.hash + `;Cert="` + alice.pem + `";Subject="CN=alice,O=lab";URI=spiffe://td/alice`
	for i := range 5000 {
		forged := strings.Repeat("x", i%100) + ";Hash=" + strings.Repeat("0", i%64)
		if p, ok := known.XFCC(forged + "," + ours); !ok || p.X5T != alice.x5t {
			t.Fatalf("%+v, %v", p, ok)
		}
	}
	kept := 0
	for i := range known.elements.place {
		if known.elements.place[i].Load() != nil {
			kept++
		}
	}
	if kept != 1 {
		t.Errorf("%d elements kept", kept)
	}
	value := `By="a,b";Hash=00,` + ours
	if n := testing.AllocsPerRun(100, func() { known.XFCC(value) }); n != 0 {
		t.Errorf("%v allocations for a known element", n)
	}
}

// TestXFCCOwnsItsMemory: what is remembered does not change with the request's
// buffer.
func TestXFCCOwnsItsMemory(t *testing.T) {
	alice := newLeaf(t, nil)
	known := NewCertificates()
	buffer := []byte(`Cert="` + alice.pem + `";URI=spiffe://td/alice`)
	p, ok := known.XFCC(alias(buffer))
	clear(buffer)
	if !ok || p.Certificate != alice.pem || p.URI != "spiffe://td/alice" {
		t.Errorf("%+v, %v", p, ok)
	}
}

// FuzzXFCC holds the reader to a slow one that goes byte by byte, and the table
// to the function.
func FuzzXFCC(f *testing.F) {
	var vectors []vector
	load(f, "certificates.json", &vectors)
	for _, v := range vectors {
		f.Add(v.Value)
	}
	hash := "Hash=" + strings.Repeat("0a", 32)
	for _, seed := range []string{
		hash, `A="x,` + hash, `A="x",` + hash, hash + `;Subject="CN=a\\",` + hash, hash + `;Subject="\\\"";URI=`, `B=a="b,c",` + hash,
		hash + ";hash=", "x, " + hash + ";URI=a;URI=b", `;;,"`, hash + `;A="\`, `="",` + hash,
	} {
		f.Add(seed)
	}
	known := NewCertificates()
	f.Fuzz(func(t *testing.T, value string) {
		p, ok := ParseXFCC(value)
		if again, okAgain := known.XFCC(value); again != p || okAgain != ok {
			t.Fatalf("%q: parsed %+v, %v; remembered %+v, %v", value, p, ok, again, okAgain)
		}
		switch {
		case !ok && p != PeerCertificate{}:
			t.Fatalf("%q: refused, and still %+v", value, p)
		case ok && p.Present != (strings.Trim(value, " \t") != ""):
			t.Fatalf("%q: present %v", value, p.Present)
		case ok && p.Present && len(p.X5T) != 43:
			t.Fatalf("%q: thumbprint %q", value, p.X5T)
		}
		element, split := lastElement(value)
		if want, wantOK := slowLastElement(value); len(value) <= maxXFCC && (split != wantOK || element != want) {
			t.Fatalf("%q: last element %q, %v; want %q, %v", value, element, split, want, wantOK)
		}
		if !ok || !p.Present {
			return
		}
		// Whatever stands before it, the last element says the same.
		for _, before := range []string{`Hash=00,`, `A="x\",y";B,`, `,`} {
			if q, ok := ParseXFCC(before + element); !ok || q != p {
				t.Fatalf("%q behind %q: %+v, %v; want %+v", element, before, q, ok, p)
			}
		}
		// And a quote that the client leaves open never passes.
		if q, ok := ParseXFCC(`A="x,` + element); ok {
			t.Fatalf("%q behind an open quote: %+v", element, q)
		}
	})
}

// slowLastElement is lastElement as the state machine that it stands for.
func slowLastElement(value string) (string, bool) {
	var element []byte
	elements := 1
	quoted, escaped, ended := false, false, false
	for i := range len(value) {
		c := value[i]
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case quoted && c == '"':
			quoted, ended = false, true
		case quoted:
		case ended && c != ',' && c != ';':
			return "", false
		case c == '"':
			if len(element) == 0 || element[len(element)-1] != '=' {
				return "", false
			}
			quoted = true
		case c == ',':
			element, ended = nil, false
			if elements++; elements > maxXFCCElements {
				return "", false
			}
			continue
		default:
			ended = false
		}
		element = append(element, c)
	}
	if quoted {
		return "", false
	}
	return strings.TrimLeft(string(element), " \t"), true
}

func BenchmarkXFCC(b *testing.B) {
	alice := newLeaf(b, nil)
	known := NewCertificates()
	for name, value := range map[string]string{
		"hash": "By=spiffe://td/gw;Hash=" + alice.hash + ";URI=spiffe://td/alice",
		"cert": "By=spiffe://td/gw;Hash=" + alice.hash + `;Cert="` + alice.pem + `";Subject="CN=alice";URI=spiffe://td/alice`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				known.XFCC(value)
			}
		})
	}
	b.Run("source.certificate", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			known.Thumbprint(alice.pem)
		}
	})
}
