// Package release_test looks into what goreleaser made: see check.
package release_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/blakesmith/ar"
	rpmutils "github.com/sassoftware/go-rpmutils"
)

// release is what goreleaser made.
type release struct {
	dir     string
	Version string // without v
	Commit  string
}

func read(t *testing.T) release {
	t.Helper()
	r := release{dir: os.Getenv("RELEASE_DIST")}
	if r.dir == "" {
		t.Skip("RELEASE_DIST is not set: run make release-check")
	}
	decode(t, r.file(t, "metadata.json"), &r)
	if r.Version == "" || len(r.Commit) != 40 {
		t.Fatalf("metadata.json has the version %q and the commit %q", r.Version, r.Commit)
	}
	return r
}

// file returns the content of a file of the release.
func (r release) file(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(t *testing.T, b []byte, to any) {
	t.Helper()
	if err := json.Unmarshal(b, to); err != nil {
		t.Fatalf("%v: %.200s", err, b)
	}
}

// platforms are the systems and processors of a release.
var platforms = [][2]string{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}}

// name returns the beginning of the names of a platform's files.
func (r release) name(os, arch string) string {
	return fmt.Sprintf("tollbridge_%s_%s_%s", r.Version, os, arch)
}

// archive returns the files of a platform's archive by name.
func (r release) archive(t *testing.T, os, arch string) map[string][]byte {
	t.Helper()
	return untar(t, r.file(t, r.name(os, arch)+".tar.gz"))
}

func untar(t *testing.T, compressed []byte) map[string][]byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for files := tar.NewReader(z); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(files)
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			all["/"+strings.TrimLeft(h.Name, "./")] = content
		}
	}
}

// wants reports the names that are not among those of what.
func wants(t *testing.T, what string, has func(string) bool, names ...string) {
	t.Helper()
	for _, name := range names {
		if !has(name) {
			t.Errorf("%s lacks %s", what, name)
		}
	}
}

// TestPrograms: each archive has a program for its platform with the version, the manual
// pages and the completions. The one for this machine prints its version.
func TestPrograms(t *testing.T) {
	r := read(t)
	for _, p := range platforms {
		what := p[0] + "/" + p[1]
		files := r.archive(t, p[0], p[1])
		wants(t, what, func(name string) bool { return len(files[name]) > 0 },
			"/README.md", "/CHANGELOG.md", "/SECURITY.md", "/docs/operating.md", "/deploy/prometheus/rules.yml",
			"/man/tollbridge.1", "/man/tollbridge-serve.1", "/completions/tollbridge.bash", "/completions/_tollbridge", "/completions/tollbridge.fish")
		program := files["/tollbridge"]
		info, err := buildinfo.Read(bytes.NewReader(program))
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		settings := map[string]string{}
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
		if settings["GOOS"] != p[0] || settings["GOARCH"] != p[1] || settings["CGO_ENABLED"] != "0" || settings["-trimpath"] != "true" {
			t.Errorf("%s: built with %v", what, settings)
		}
		if !bytes.Contains(program, []byte("v"+r.Version)) || !bytes.Contains(program, []byte(r.Commit)) {
			t.Errorf("%s: the program lacks the version v%s or the commit %s", what, r.Version, r.Commit)
		}
		if p != [2]string{runtime.GOOS, runtime.GOARCH} {
			continue
		}
		path := filepath.Join(t.TempDir(), "tollbridge")
		if err := os.WriteFile(path, program, 0o755); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(path, "version").CombinedOutput()
		if want := "tollbridge v" + r.Version + " " + r.Commit + " go"; err != nil || !strings.HasPrefix(string(out), want) {
			t.Errorf("%s: version prints %q, %v; want %q", what, out, err, want)
		}
	}
}

// installed are the files that both packages install.
var installed = []string{
	"/usr/bin/tollbridge", "/usr/lib/systemd/system/tollbridge.service", "/usr/lib/sysusers.d/tollbridge.conf", "/usr/lib/tmpfiles.d/tollbridge.conf",
	"/usr/share/man/man1/tollbridge.1", "/usr/share/man/man1/tollbridge-serve.1", "/usr/share/bash-completion/completions/tollbridge",
	"/usr/share/fish/vendor_completions.d/tollbridge.fish", "/usr/share/doc/tollbridge/README.md", "/usr/share/doc/tollbridge/docs/operating.md",
	"/usr/share/doc/tollbridge/rules.yml",
}

// TestDeb: the packages for Debian install the program of the archive and what belongs to it.
func TestDeb(t *testing.T) {
	r := read(t)
	for _, arch := range []string{"amd64", "arm64"} {
		found, err := filepath.Glob(filepath.Join(r.dir, "tollbridge_*_"+arch+".deb"))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: packages %v, %v; want one", arch, found, err)
		}
		members := map[string]map[string][]byte{}
		for files := ar.NewReader(bytes.NewReader(r.file(t, filepath.Base(found[0])))); ; {
			h, err := files.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(files)
			if err != nil {
				t.Fatal(err)
			}
			if name := strings.TrimSuffix(h.Name, "/"); strings.HasSuffix(name, ".tar.gz") {
				members[name] = untar(t, content)
			}
		}
		data, control := members["data.tar.gz"], members["control.tar.gz"]
		wants(t, arch+".deb", func(name string) bool { return len(data[name]) > 0 }, append(installed, "/usr/share/zsh/vendor-completions/_tollbridge")...)
		if !bytes.Equal(data["/usr/bin/tollbridge"], r.archive(t, "linux", arch)["/tollbridge"]) {
			t.Errorf("%s.deb: its program is not that of the archive", arch)
		}
		for _, want := range []string{"Package: tollbridge\n", "Architecture: " + arch + "\n", "Version: 0.0.0"} {
			if !strings.Contains(string(control["/control"]), want) {
				t.Errorf("%s.deb: its control file lacks %q: %s", arch, want, control["/control"])
			}
		}
		if !strings.Contains(string(control["/postinst"]), "systemd-sysusers tollbridge.conf") {
			t.Errorf("%s.deb: postinst: %q", arch, control["/postinst"])
		}
	}
}

// TestRPM: the packages for Red Hat's and SUSE's systems have the same files.
func TestRPM(t *testing.T) {
	r := read(t)
	for arch, named := range map[string]string{"amd64": "x86_64", "arm64": "aarch64"} {
		found, err := filepath.Glob(filepath.Join(r.dir, "tollbridge-*."+named+".rpm"))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: packages %v, %v; want one", named, found, err)
		}
		p, err := rpmutils.ReadRpm(bytes.NewReader(r.file(t, filepath.Base(found[0]))))
		if err != nil {
			t.Fatal(err)
		}
		files, err := p.Header.GetFiles()
		if err != nil {
			t.Fatal(err)
		}
		digests := map[string]string{}
		for _, f := range files {
			digests[f.Name()] = f.Digest()
		}
		wants(t, named+".rpm", func(name string) bool { return digests[name] != "" }, append(installed, "/usr/share/zsh/site-functions/_tollbridge")...)
		program := sha256.Sum256(r.archive(t, "linux", arch)["/tollbridge"])
		if digests["/usr/bin/tollbridge"] != hex.EncodeToString(program[:]) {
			t.Errorf("%s.rpm: its program is not that of the archive", named)
		}
		id, err := p.Header.GetNEVRA()
		if err != nil {
			t.Fatal(err)
		}
		script, err := p.Header.GetStrings(rpmutils.POSTIN)
		if id.Name != "tollbridge" || id.Arch != named || err != nil || !strings.Contains(strings.Join(script, ""), "systemd-sysusers") {
			t.Errorf("%s.rpm: %+v, script %q, %v", named, id, script, err)
		}
	}
}

// TestSBOM: each program has a CycloneDX document with every module that is linked into it.
func TestSBOM(t *testing.T) {
	r := read(t)
	for _, p := range platforms {
		var document struct {
			BOMFormat  string `json:"bomFormat"`
			Components []struct{ Name, Version string }
		}
		decode(t, r.file(t, r.name(p[0], p[1])+".cdx.json"), &document)
		info, err := buildinfo.Read(bytes.NewReader(r.archive(t, p[0], p[1])["/tollbridge"]))
		if err != nil {
			t.Fatal(err)
		}
		has := map[string]string{}
		for _, c := range document.Components {
			has[c.Name] = c.Version
		}
		if document.BOMFormat != "CycloneDX" || len(info.Deps) < 20 {
			t.Errorf("%v: format %q, %d modules", p, document.BOMFormat, len(info.Deps))
		}
		for _, m := range info.Deps {
			if has[m.Path] != m.Version {
				t.Errorf("%v: the document has %s %q, want %s", p, m.Path, has[m.Path], m.Version)
			}
		}
	}
}

// TestChecksums: SHA256SUMS lists every file of the release with its sum, and its signature
// verifies only if it is unchanged.
func TestChecksums(t *testing.T) {
	r := read(t)
	sums := r.file(t, "SHA256SUMS")
	var listed []string
	for line := range strings.Lines(string(sums)) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		got := sha256.Sum256(r.file(t, name))
		if hex.EncodeToString(got[:]) != sum {
			t.Errorf("%s: the sum is %x, SHA256SUMS has %s", name, got, sum)
		}
		listed = append(listed, name)
	}
	for suffix, want := range map[string]int{".tar.gz": 4, ".deb": 2, ".rpm": 2, ".cdx.json": 4} {
		files, err := filepath.Glob(filepath.Join(r.dir, "*"+suffix))
		if err != nil || len(files) != want {
			t.Errorf("%d files *%s, want %d", len(files), suffix, want)
		}
		for _, f := range files {
			if !slices.Contains(listed, filepath.Base(f)) {
				t.Errorf("SHA256SUMS lacks %s", filepath.Base(f))
			}
		}
	}
	verify := func(signed []byte) error {
		path := filepath.Join(t.TempDir(), "SHA256SUMS")
		if err := os.WriteFile(path, signed, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("gpg", "--batch", "--verify", filepath.Join(r.dir, "SHA256SUMS.asc"), path).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	if err := verify(sums); err != nil {
		t.Errorf("the signature: %v", err)
	}
	if verify(append([]byte("0"), sums...)) == nil {
		t.Error("the signature also verifies changed checksums")
	}
}

// TestImage builds the image for this machine's processor, as goreleaser would, and looks
// into it. The images of other processors, and the index of all, need buildx and a registry.
func TestImage(t *testing.T) {
	r := read(t)
	t.Log("NOT BUILT: the images for other processors than this machine's, and the index of all images; `goreleaser check` accepts their configuration")
	if out, err := exec.Command("docker", "info").CombinedOutput(); err != nil {
		t.Skipf("NOT BUILT: the image for linux/%s (no Docker engine: %.100s)", runtime.GOARCH, out)
	}
	context, platform := t.TempDir(), "linux/"+runtime.GOARCH
	for _, dir := range []string{platform, "deploy/release/state"} {
		if err := os.MkdirAll(filepath.Join(context, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	dockerfile, err := os.ReadFile("../../deploy/release/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"Dockerfile": dockerfile, "deploy/release/state/.keep": nil, platform + "/tollbridge": r.archive(t, "linux", runtime.GOARCH)["/tollbridge"],
	} {
		if err := os.WriteFile(filepath.Join(context, name), content, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	docker := func(args ...string) string {
		t.Helper()
		c := exec.Command("docker", args...)
		c.Env = append(os.Environ(), "DOCKER_BUILDKIT=0") // buildx may be missing
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	const image = "tollbridge-release-check"
	docker("build", "-t", image, "--build-arg", "TARGETPLATFORM="+platform, "--build-arg", "VERSION="+r.Version, "--build-arg", "COMMIT="+r.Commit, context)
	defer docker("image", "rm", "-f", image)
	var inspected []struct {
		Architecture string
		Config       struct {
			User   string
			Labels map[string]string
		}
	}
	decode(t, []byte(docker("image", "inspect", image)), &inspected)
	labels := inspected[0].Config.Labels
	for name, want := range map[string]string{"title": "tollbridge", "version": r.Version, "revision": r.Commit, "source": "https://github.com/tollbridge/tollbridge"} {
		if got := labels["org.opencontainers.image."+name]; got != want {
			t.Errorf("the label %s is %q, want %q", name, got, want)
		}
	}
	if inspected[0].Config.User != "65532:65532" || inspected[0].Architecture != runtime.GOARCH {
		t.Errorf("the image is for %s, with the user %q", inspected[0].Architecture, inspected[0].Config.User)
	}
	if out := docker("run", "--rm", "--network", "none", image, "version"); !strings.HasPrefix(out, "tollbridge v"+r.Version+" ") {
		t.Errorf("version prints %q", out)
	}
	t.Logf("built and run: the image for %s", platform)
}
