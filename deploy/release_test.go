package deploy_test

// The tests of a release. TestPackages and TestGoreleaser always run. Those whose names begin
// with TestRelease look into all that goreleaser made: `make release-check` runs them.

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
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/blakesmith/ar"
	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm"
	rpmutils "github.com/sassoftware/go-rpmutils"
	"sigs.k8s.io/yaml"
)

// release is what goreleaser made.
type release struct {
	dir     string
	Version string // without v
	Commit  string
	Date    string
}

func readRelease(t *testing.T) release {
	t.Helper()
	r := release{dir: os.Getenv("RELEASE_DIST")}
	if r.dir == "" {
		t.Skip("RELEASE_DIST is not set: run make release-check")
	}
	decode(t, r.file(t, "metadata.json"), &r)
	if r.Version == "" || len(r.Commit) != 40 || r.Date == "" {
		t.Fatalf("metadata.json has the version %q, the commit %q and the date %q", r.Version, r.Commit, r.Date)
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

// untar returns the files of a compressed tar archive by their absolute name.
func untar(t *testing.T, compressed []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for name, f := range untarModes(t, compressed) {
		files[name] = f.content
	}
	return files
}

// file is a file of a package.
type file struct {
	mode    int64
	content []byte
}

// untarModes returns the files of a compressed tar archive, with their modes.
func untarModes(t *testing.T, compressed []byte) map[string]file {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]file{}
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
			all["/"+strings.TrimLeft(h.Name, "./")] = file{h.Mode, content}
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

// TestReleasePrograms: each archive has a program for its platform with the version, the manual
// pages and the completions. The one for this machine prints its version.
func TestReleasePrograms(t *testing.T) {
	r := readRelease(t)
	for _, p := range platforms {
		what := p[0] + "/" + p[1]
		files := r.archive(t, p[0], p[1])
		wants(t, what, func(name string) bool { return len(files[name]) > 0 },
			"/README.md", "/CHANGELOG.md", "/SECURITY.md", "/docs/operating.md", "/deploy/prometheus/rules.yml", "/deploy/grafana/tollbridge.json",
			"/deploy/systemd/tollbridge.service", "/deploy/systemd/tollbridge.yaml",
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

// installed are the files that both packages install, beside those of zsh.
var installed = []string{
	"/usr/bin/tollbridge", "/usr/lib/systemd/system/tollbridge.service", "/usr/lib/sysusers.d/tollbridge.conf", "/usr/lib/tmpfiles.d/tollbridge.conf",
	"/usr/share/man/man1/tollbridge.1", "/usr/share/man/man1/tollbridge-serve.1", "/usr/share/bash-completion/completions/tollbridge",
	"/usr/share/fish/vendor_completions.d/tollbridge.fish", "/usr/share/doc/tollbridge/README.md", "/usr/share/doc/tollbridge/docs/operating.md",
	"/usr/share/doc/tollbridge/examples/tollbridge.yaml", "/usr/share/doc/tollbridge/examples/rules.yml", "/usr/share/doc/tollbridge/examples/grafana.json",
}

// checkModes reports files of a package that are not executable by all, for programs, or not
// readable by all, for the others.
func checkModes(t *testing.T, what string, modes map[string]int64) {
	t.Helper()
	for name, mode := range modes {
		want := int64(0o644)
		if name == "/usr/bin/tollbridge" {
			want = 0o755
		}
		if mode&0o7777 != want {
			t.Errorf("%s: the mode of %s is %o, want %o", what, name, mode&0o7777, want)
		}
	}
}

// checkDeb reports what is wrong with a package for Debian: it has to install the program
// and what belongs to it.
func checkDeb(t *testing.T, deb []byte, arch, version string, program []byte) {
	t.Helper()
	members := map[string]map[string]file{}
	for files := ar.NewReader(bytes.NewReader(deb)); ; {
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
			members[name] = untarModes(t, content)
		}
	}
	data, control := members["data.tar.gz"], members["control.tar.gz"]
	what := arch + ".deb"
	wants(t, what, func(name string) bool { return len(data[name].content) > 0 }, append(installed, "/usr/share/zsh/vendor-completions/_tollbridge")...)
	modes := map[string]int64{}
	for name, f := range data {
		modes[name] = f.mode
	}
	checkModes(t, what, modes)
	if !bytes.Equal(data["/usr/bin/tollbridge"].content, program) {
		t.Errorf("%s: its program is another one", what)
	}
	for _, want := range []string{"Package: tollbridge\n", "Architecture: " + arch + "\n", "Version: " + version} {
		if !strings.Contains(string(control["/control"].content), want) {
			t.Errorf("%s: its control file lacks %q: %s", what, want, control["/control"].content)
		}
	}
	for script, want := range map[string]string{"/postinst": "systemd-sysusers tollbridge.conf", "/prerm": "systemctl disable --now tollbridge.service"} {
		if !strings.Contains(string(control[script].content), want) {
			t.Errorf("%s: %s lacks %q: %q", what, script, want, control[script].content)
		}
	}
}

// checkRPM does for a package for Red Hat's and SUSE's systems what checkDeb does.
func checkRPM(t *testing.T, rpm []byte, arch, version string, program []byte) {
	t.Helper()
	p, err := rpmutils.ReadRpm(bytes.NewReader(rpm))
	if err != nil {
		t.Fatal(err)
	}
	files, err := p.Header.GetFiles()
	if err != nil {
		t.Fatal(err)
	}
	digests, modes, what := map[string]string{}, map[string]int64{}, arch+".rpm"
	for _, f := range files {
		digests[f.Name()], modes[f.Name()] = f.Digest(), int64(f.Mode())
	}
	wants(t, what, func(name string) bool { return digests[name] != "" }, append(installed, "/usr/share/zsh/site-functions/_tollbridge")...)
	checkModes(t, what, modes)
	if sum := sha256.Sum256(program); digests["/usr/bin/tollbridge"] != hex.EncodeToString(sum[:]) {
		t.Errorf("%s: its program is another one", what)
	}
	id, err := p.Header.GetNEVRA()
	if err != nil {
		t.Fatal(err)
	}
	if id.Name != "tollbridge" || id.Arch != arch || !strings.HasPrefix(id.Version, version) {
		t.Errorf("%s: %+v, want tollbridge %s", what, id, version)
	}
	for tag, want := range map[int]string{rpmutils.POSTIN: "systemd-sysusers tollbridge.conf", rpmutils.PREUN: "systemctl disable --now tollbridge.service"} {
		script, err := p.Header.GetStrings(tag)
		if err != nil || !strings.Contains(strings.Join(script, ""), want) {
			t.Errorf("%s: the script %d lacks %q: %q, %v", what, tag, want, script, err)
		}
	}
}

// rpmArch are rpm's names of processors.
var rpmArch = map[string]string{"amd64": "x86_64", "arm64": "aarch64"}

// TestReleasePackages: the packages of the release install the program of the archive and
// what belongs to it.
func TestReleasePackages(t *testing.T) {
	r := readRelease(t)
	version, _, _ := strings.Cut(r.Version, "-")
	for arch, named := range rpmArch {
		program := r.archive(t, "linux", arch)["/tollbridge"]
		one := func(pattern string) []byte {
			found, err := filepath.Glob(filepath.Join(r.dir, pattern))
			if err != nil || len(found) != 1 {
				t.Fatalf("%s: packages %v, %v; want one", pattern, found, err)
			}
			return r.file(t, filepath.Base(found[0]))
		}
		checkDeb(t, one("tollbridge_*_"+arch+".deb"), arch, version, program)
		checkRPM(t, one("tollbridge-*."+named+".rpm"), named, version, program)
	}
}

// goreleaser is what these tests read of .goreleaser.yaml.
type goreleaser struct {
	Builds []struct{ Ldflags []string }
	NFPMs  []struct {
		Maintainer, Description, Bindir string
		Contents                        files.Contents
		Scripts                         nfpm.Scripts
	}
	Dockers []struct {
		Dockerfile string
		ExtraFiles []string `json:"extra_files"`
	} `json:"dockers_v2"`
}

func readGoreleaser(t *testing.T) (g goreleaser) {
	t.Helper()
	text, err := os.ReadFile("../.goreleaser.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// TestPackages makes a deb and an rpm package of this tree as .goreleaser.yaml says, with the
// library that goreleaser uses, and looks into them. It does not need goreleaser itself.
func TestPackages(t *testing.T) {
	arch := runtime.GOARCH
	if rpmArch[arch] == "" {
		t.Skipf("there are no packages for %s", arch)
	}
	dir := t.TempDir()
	binary := program(t)
	if out, err := exec.Command(binary, "man", dir).CombinedOutput(); err != nil {
		t.Fatalf("man: %v: %s", err, out)
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	for format, check := range map[string]func(packed []byte){
		"deb": func(packed []byte) { checkDeb(t, packed, arch, "1.2.3", content) },
		"rpm": func(packed []byte) { checkRPM(t, packed, rpmArch[arch], "1.2.3", content) },
	} {
		from := readGoreleaser(t).NFPMs[0]
		info := &nfpm.Info{Name: "tollbridge", Arch: arch, Version: "1.2.3", Maintainer: from.Maintainer, Description: from.Description}
		info.Contents = files.Contents{{Source: binary, Destination: from.Bindir + "/tollbridge", FileInfo: &files.ContentFileInfo{Mode: 0o755}}}
		for _, c := range from.Contents {
			if made, ok := strings.CutPrefix(c.Source, "bin/release/"); ok { // by the hook, there
				c.Source = filepath.Join(dir, made)
			} else {
				c.Source = filepath.Join("..", c.Source)
			}
			info.Contents = append(info.Contents, c)
		}
		info.Scripts.PostInstall = filepath.Join("..", from.Scripts.PostInstall)
		info.Scripts.PreRemove = filepath.Join("..", from.Scripts.PreRemove)
		packager, err := nfpm.Get(format)
		if err != nil {
			t.Fatal(err)
		}
		info = nfpm.WithDefaults(info)
		if err := nfpm.PrepareForPackager(info, format); err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		var packed bytes.Buffer
		if err := packager.Package(info, &packed); err != nil {
			t.Fatalf("%s: %v", format, err)
		}
		check(packed.Bytes())
	}
}

// TestExample: tollbridge accepts the configuration that the packages have as an example.
func TestExample(t *testing.T) {
	text, err := os.ReadFile("systemd/tollbridge.yaml")
	if err != nil {
		t.Fatal(err)
	}
	checkConfiguration(t, t.TempDir(), string(text), "/etc/tollbridge/secrets/stripe")
	for _, want := range []string{"/etc/tollbridge/tollbridge.yaml", "/var/lib/tollbridge"} { // of tollbridge.service
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("systemd/tollbridge.yaml lacks %s", want)
		}
	}
}

// TestGoreleaser checks what .goreleaser.yaml names: files of the image that exist, and
// variables of the program.
func TestGoreleaser(t *testing.T) {
	g := readGoreleaser(t)
	for _, d := range g.Dockers {
		for _, f := range append(d.ExtraFiles, d.Dockerfile) {
			if _, err := os.Stat(filepath.Join("..", f)); err != nil {
				t.Error(err)
			}
		}
	}
	source, err := os.ReadFile("../cmd/tollbridge/build.go")
	if err != nil {
		t.Fatal(err)
	}
	flags := strings.Join(g.Builds[0].Ldflags, " ")
	for _, name := range []string{"version", "commit"} {
		if !strings.Contains(flags, "-X main."+name+"=") || !regexp.MustCompile(`(?m)^var .*\b`+name+`\b`).Match(source) {
			t.Errorf("the linker flags %q do not set main.%s, or it does not exist", flags, name)
		}
	}
	if len(g.Dockers) != 1 || len(g.NFPMs) != 1 || len(g.Builds) != 1 {
		t.Errorf("%d images, %d packages, %d builds; want one of each", len(g.Dockers), len(g.NFPMs), len(g.Builds))
	}
}

// TestReleaseSBOM: each program has a CycloneDX document with every module that is linked into it.
func TestReleaseSBOM(t *testing.T) {
	r := readRelease(t)
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

// TestReleaseChecksums: SHA256SUMS lists every file of the release with its sum, and its signature
// verifies only if it is unchanged.
func TestReleaseChecksums(t *testing.T) {
	r := readRelease(t)
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

// TestReleaseImage builds the image for this machine's processor, as goreleaser would, and looks
// into it. The images of other processors, and the index of all, need buildx and a registry.
func TestReleaseImage(t *testing.T) {
	r := readRelease(t)
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
	dockerfile, err := os.ReadFile("release/Dockerfile")
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
	docker("build", "-t", image, "--build-arg", "TARGETPLATFORM="+platform, "--build-arg", "VERSION="+r.Version, "--build-arg", "COMMIT="+r.Commit, "--build-arg", "CREATED="+r.Date, context)
	defer docker("image", "rm", "-f", image)
	var inspected []struct {
		Architecture string
		Config       struct {
			User            string
			Entrypoint, Cmd []string
			Healthcheck     struct{ Test []string }
			Labels          map[string]string
		}
	}
	decode(t, []byte(docker("image", "inspect", image)), &inspected)
	labels := inspected[0].Config.Labels
	for name, want := range map[string]string{"title": "tollbridge", "version": r.Version, "revision": r.Commit, "created": r.Date, "source": "https://github.com/tollbridge/tollbridge"} {
		if got := labels["org.opencontainers.image."+name]; got != want {
			t.Errorf("the label %s is %q, want %q", name, got, want)
		}
	}
	if inspected[0].Config.User != "65532:65532" || inspected[0].Architecture != runtime.GOARCH {
		t.Errorf("the image is for %s, with the user %q", inspected[0].Architecture, inspected[0].Config.User)
	}
	if got := fmt.Sprint(inspected[0].Config.Entrypoint, inspected[0].Config.Cmd); got != "[/tollbridge] [serve --config /etc/tollbridge/tollbridge.yaml]" {
		t.Errorf("the image runs %s", got)
	}
	if got := strings.Join(inspected[0].Config.Healthcheck.Test, " "); got != "CMD /tollbridge healthcheck --config /etc/tollbridge/tollbridge.yaml" {
		t.Errorf("the image's health check is %q", got)
	}
	if out := docker("run", "--rm", "--network", "none", image, "version"); !strings.HasPrefix(out, "tollbridge v"+r.Version+" ") {
		t.Errorf("version prints %q", out)
	}
	t.Logf("built and run: the image for %s", platform)
}
