package dial

import (
	"strings"
	"testing"
)

// TestCheckURL: JK14.
func TestCheckURL(t *testing.T) {
	for _, good := range []string{
		"https://idp.example/jwks", "https://idp.example:8443/jwks?p=b2c", "https://10.0.0.1/jwks", "https://[2606:2800:220:1::1]/",
		"http://127.0.0.1:8080/jwks", "http://[::1]:8080/jwks", "http://localhost/jwks", "http://LOCALHOST./jwks", "http://idp.localhost/jwks", "https://localhost/",
	} {
		if err := CheckURL(good); err != nil {
			t.Errorf("CheckURL(%s) = %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "idp.example/jwks", "//idp.example/jwks", "file:///etc/passwd", "unix:///run/x", "ftp://idp.example/", "https:", "https://", "https:///jwks", "https:idp.example",
		"https://alice:secret@idp.example/jwks", "https://alice@idp.example/jwks", "https://idp.example/jwks#keys", "https://idp.example/jwks#",
		"http://idp.example/jwks", "http://10.0.0.1/jwks", "http://localhost.example/jwks", "http://notlocalhost/", "http://127.0.0.1.example/",
		"https://169.254.169.254/latest", "https://[fe80::1]/", "https://[fe80::1%25eth0]/", "https://[::ffff:169.254.169.254]/", "https://0.0.0.0/", "https://[::]/",
		"https://idp.example:0/", "https://idp.example:65536/", "https://idp.example:x/", "https://idp.example/%zz", "https://idp .example/", "https://idp.example/\n",
	} {
		if err := CheckURL(bad); err == nil {
			t.Errorf("CheckURL(%q) = nil", bad)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}
