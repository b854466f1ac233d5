# Two commands set everything up on a machine with Python 3.11 to 3.13, pip and make; each makes an
# environment of its own.
#   make demo   installs the device package and classifies a real radiograph
#   make test   installs everything and runs the quick tests; make test-all the slow ones too
#   make web    builds the parts of the page for browsers (needs node and npm); make test-web tests it in browsers
#   make container  builds the container image and runs it without a network (needs buildah and root); ARCH=arm64 for a Pi
#   make arm64  installs the wheel on a Debian for ARM, emulated, and compares its answers with those here
#   make bench  measures the embedded model and makes the tables of the documents anew
#   make embedded DATA=fracatlas WEIGHTS=weights.npz   cross-validates, trains a model to embed on all images but the
#                                                      test images, and puts it into the package
#   make reproduce DATA=fracatlas NOTEBOOK_SET=notebook_set   trains the reference's three models again
#   make folds DATA=fracatlas WEIGHTS=weights.npz VGG16_WEIGHTS=vgg16.npz   cross-validates the four networks

PYTHON ?= python3
VENV := .venv
DEMO := .venv-demo
MODELS ?= edge embedded
DATA ?= fracatlas
WEIGHTS ?= imagenet
VGG16_WEIGHTS ?= imagenet
MODEL_VERSION ?= 0.8
LICENCE := "Apache-2.0; trained on FracAtlas (CC BY 4.0, Abedeen et al. 2023)"
FIND_RADIOGRAPH := from pydicom.data import get_testdata_file as f; print(f("RG3_UNCR.dcm"))

.PHONY: demo container arm64 web web-packages test-web test-web-quick test-web-node docs test test-slow test-all endurance lint bounds bench embedded folds reproduce curve clean

demo: $(DEMO)/ready
	$(DEMO)/bin/fracture-edge classify "$$($(DEMO)/bin/python -c '$(FIND_RADIOGRAPH)')"

# Two at a time; tests of one file share its fixtures. A process that ends by itself, as for want of memory, ends the
# tests: pytest-xdist would replace it and then wait for ever for the rest of its file.
PYTEST := $(VENV)/bin/python -m pytest -n 2 --dist loadfile --max-worker-restart 0
test: $(VENV)/ready
	$(PYTEST)

# What takes minutes: training to the end, kill -9, conversions of whole networks, other backends, the wheel.
test-slow: $(VENV)/ready
	$(PYTEST) -m "slow and not endurance"

test-all: test test-slow

# What the suite tries a few times, many times: 50 kills, 4,000 predictions from 8 threads, 100 files whose writers stall for
# 9 seconds, 200,000 broken files, the DICOM gateway between Orthanc and dcmtk (where they are installed).
endurance: $(VENV)/ready
	$(VENV)/bin/python -m pytest -m endurance
	$(VENV)/bin/python -m benchmarks.studies fuzzing --count 200000

# Parts of the page that the wheel carries: in fracture_edge/web/built, never committed. Without them the package lacks
# only `fracture-edge page`.
WEB_PACKAGES := web/node_modules/.package-lock.json
WEB_BUILT := fracture_edge/web/built/page.js.xz
web: $(WEB_BUILT)
web-packages: $(WEB_PACKAGES)
$(WEB_PACKAGES): web/package.json web/package-lock.json
	cd web && npm ci --no-progress && touch node_modules/.package-lock.json
$(WEB_BUILT): $(WEB_PACKAGES) web/build.mjs web/pack.py web/libwebp-licence.txt $(shell find web/src -type f)
	cd web && node build.mjs
	$(PYTHON) web/pack.py

# The page against the program: in node on stored pictures, in Chromium and Firefox, whichever is there, on drawn ones.
test-web: test-web-node
	$(VENV)/bin/python -m benchmarks.studies page-browsers --count 200 --custom-cnn
test-web-quick: test-web-node
	$(VENV)/bin/python -m benchmarks.studies page-browsers --count 29
test-web-node: $(WEB_BUILT) $(VENV)/ready
	cd web && node --test test/golden.test.mjs

# Pages of the Python interface, in build/docs.
API := classifier prediction policy errors modelfile preprocess suitability
docs: $(VENV)/ready
	rm -rf build/docs
	$(VENV)/bin/python -W error::UserWarning -m pdoc --docformat google -o build/docs $(API:%=fracture_edge.%)

# The image of the Containerfile, built and run without a network. It needs buildah and root, no container engine:
#   make container BUILDAH_ISOLATION=chroot
# ARCH=arm64 makes and runs the one for a Raspberry Pi on x86_64 too, emulated (apt-get install qemu-user-static binfmt-support).
# BASE may be any Debian with Python 3.11 to 3.13, also one that mmdebstrap has made (docs/serve.md).
ARCH ?= $(subst x86_64,amd64,$(subst aarch64,arm64,$(shell uname -m)))
BASE ?= docker.io/library/debian:bookworm-slim
BUILDAH ?= buildah
BUILD_OPTIONS ?=
IMAGE := fracture-edge:$(ARCH)
container: $(VENV)/ready
	$(BUILDAH) build $(BUILD_OPTIONS) --arch $(ARCH) --build-arg BASE=$(BASE) -t $(IMAGE) .
	mkdir -p build && $(BUILDAH) inspect --type image $(IMAGE) > build/image.json
	made=$$($(BUILDAH) from --arch $(ARCH) $(IMAGE)) && $(VENV)/bin/python -m benchmarks.studies serving container \
		"$$($(BUILDAH) mount $$made)" build/image.json -o benchmarks/results/serving/container-$(ARCH).json; \
		status=$$?; $(BUILDAH) rm $$made && exit $$status

# The wheel on a fresh Debian for arm64, on emulated cores of the Raspberry Pi 3 and 4: needs root on x86_64, a package index,
# and apt-get install mmdebstrap qemu-user-static arch-test.
arm64: $(VENV)/ready
	nice -n 10 $(VENV)/bin/python -m benchmarks.studies arm64 --output benchmarks/results/arm64.json
	$(VENV)/bin/python -m benchmarks.studies documents

# Whether the lowest and the newest versions that pyproject.toml allows work; it needs a package index.
bounds: $(VENV)/ready
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5'
	$(VENV)/bin/python -m benchmarks.studies bounds

lint: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# Measures the embedded model and what is exported from the network that it is made of.
bench: $(VENV)/ready $(DEMO)/ready
	$(VENV)/bin/fracture-edge benchmark $(MODELS) -o benchmarks/results/embedded.json --force
	$(DEMO)/bin/python -P -m benchmarks.speed.device_cost --output benchmarks/results/device-cost.json
	$(VENV)/bin/python -m benchmarks.studies documents

# A model to embed, from the images to the file in the package: five folds settle it, then it is trained on all images but
# the test images. It replaces artifacts/edge, artifacts/edge-folds and what is embedded; `make embedded
# EMBEDDED_GO_ON=--resume` goes on where it was cut off, and takes the folds that are done.
EMBEDDED_GO_ON ?= --force
SPLITS := benchmarks/results/fracatlas-splits.csv
embedded: $(VENV)/ready
	$(VENV)/bin/fracture-edge train edge --folds 5 --final --data $(DATA) --splits $(SPLITS) --weights $(WEIGHTS) \
		--recipe deep --seed 0 $(EMBEDDED_GO_ON)
	$(VENV)/bin/fracture-edge export edge --recipe onnx_int8_static_x86 --heatmap --force --licence $(LICENCE) \
		--model-version $(MODEL_VERSION)
	$(VENV)/bin/python -m export.embed artifacts/edge/edge-int8.onnx

# Four networks on the same folds for ten epochs at most. It takes many hours on two cores; what is finished is kept,
# and `make folds FOLDS_GO_ON=--resume` goes on with the network that was cut off.
TOGETHER := --folds 5 --data $(DATA) --splits $(SPLITS) --seed 0
FOLDED := edge custom_cnn resnet50 vgg16
folds: $(FOLDED:%=artifacts/%-folds)
	$(VENV)/bin/python -m benchmarks.studies cross-validated $^ -o benchmarks/results/folds.json --against "edge (deep)"
artifacts/edge-folds: | $(VENV)/ready
	$(VENV)/bin/fracture-edge train edge $(TOGETHER) --weights $(WEIGHTS) --recipe deep --precision float32 $(FOLDS_GO_ON)
artifacts/custom_cnn-folds: | $(VENV)/ready
	$(VENV)/bin/fracture-edge train custom_cnn $(TOGETHER) --epochs 10 --precision mixed_bfloat16 $(FOLDS_GO_ON)
artifacts/resnet50-folds: | $(VENV)/ready
	$(VENV)/bin/fracture-edge train resnet50 $(TOGETHER) --epochs 10 --recipe scratch --precision mixed_bfloat16 \
		$(FOLDS_GO_ON)
artifacts/vgg16-folds: | $(VENV)/ready
	$(VENV)/bin/fracture-edge train vgg16 $(TOGETHER) --epochs 10 --weights $(VGG16_WEIGHTS) --precision mixed_bfloat16 \
		$(FOLDS_GO_ON)

# The reference's three models again, as published and corrected: hours on one GPU, days on two cores. What is finished
# is kept; `make reproduce GO_ON=--resume` goes on with the run that was cut off, and EPOCHS=1 tries everything out.
NOTEBOOK_SET ?= notebook_set
RESNET50_WEIGHTS ?= imagenet
REPRODUCTION ?= benchmarks/results/reproduction
RUNS := artifacts/reproduction
MODELS_OF_REFERENCE ?= vgg16 resnet50 custom_cnn
WEIGHTS_OF_vgg16 = --weights $(VGG16_WEIGHTS)
WEIGHTS_OF_resnet50 = --weights $(RESNET50_WEIGHTS)
reproduce: $(foreach run,notebook-own notebook-grouped corrected,$(MODELS_OF_REFERENCE:%=$(RUNS)/%-$(run)/done))
	$(VENV)/bin/python -m benchmarks.studies documents
$(RUNS)/grouped.csv: | $(VENV)/ready
	mkdir -p $(RUNS)
	$(VENV)/bin/fracture-edge data split $(NOTEBOOK_SET) --out $@
# Train, judge on the test split, store the figures. Arguments: model, kind of run, options.
define reproduced
	$(VENV)/bin/fracture-edge train $(1) $(3) $(WEIGHTS_OF_$(1)) --artifacts $(RUNS)/$(1)-$(2) $(EPOCHS:%=--epochs %) $(GO_ON)
	$(VENV)/bin/fracture-edge evaluate $(1) --split test --artifacts $(RUNS)/$(1)-$(2)
	$(VENV)/bin/python -m benchmarks.studies reproduction $(1)-$(2) $(RUNS)/$(1)-$(2)/$(1) --output $(REPRODUCTION)
	touch $(RUNS)/$(1)-$(2)/done
endef
$(RUNS)/%-notebook-own/done: | $(VENV)/ready
	$(call reproduced,$*,notebook-own,--recipe notebook --data $(NOTEBOOK_SET))
$(RUNS)/%-notebook-grouped/done: $(RUNS)/grouped.csv | $(VENV)/ready
	$(call reproduced,$*,notebook-grouped,--recipe notebook --data $(NOTEBOOK_SET) --splits $<)
$(RUNS)/%-corrected/done: | $(VENV)/ready
	$(call reproduced,$*,corrected,--data $(DATA) --splits $(SPLITS))

# AUROC over the size of the training set; goes on where it was cut off.
curve: $(VENV)/ready
	$(VENV)/bin/python -m benchmarks.studies learning-curve edge --data $(DATA) --splits $(SPLITS) --weights $(WEIGHTS) \
		--recipe probed --shares 0.125 --shares 0.25 --shares 0.5 --shares 1 --epochs 3 \
		-o benchmarks/results/learning-curve.json

# Not editable, as a user installs it: what is in the package decides when to install again.
$(DEMO)/ready: pyproject.toml constraints.txt $(shell find fracture_edge benchmarks -name "*.py" -o -path "fracture_edge/models/*")
	rm -rf build
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt '.[dicom]' pydicom-data
	touch $@

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info
