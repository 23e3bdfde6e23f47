"""A training run's configuration: four small dataclasses, filled alike by a recipe file and by ``--set optim.lr=3e-4``.

No torch here: the command line reads, checks and lists recipes without it.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from moue.data.splits import Duplicates
from moue.errors import UsageError, quoted
from moue.spec import Color
from moue.training.ranges import Range, check_ranges
from moue.training.values import build, parse_setting

#: The settings with which a run may be resumed otherwise than it was started: where it is computed, and where its votes
#: are. All others would make it another run.
MAY_DIFFER = ("run.device", "run.threads", "data.votes")


@dataclass(frozen=True)
class DataConfig:
    """Which rows are trained on, how classes are balanced, and how batches are augmented."""

    labels: str | None = None
    """Label set: "fer2013", "ferplus" (needs votes), "folders" or "own", the classes that the data have; None is the
    one that a written set brings along, and "fer2013" for any other data."""
    votes: str | None = None
    """Path of fer2013new.csv: for the labels "ferplus", or with "fer2013" for ``optim.votes_weight``."""
    validation: Annotated[float, Range(0, 0.9)] = 0.2
    """Share of Training that is held out, stratified, with duplicates on one side. 0 trains on all of it."""
    duplicates: Duplicates = "exact"
    """Which images count as duplicates: "exact", those with equal pixels, or "near", also the same photo cropped,
    compressed, lit or mirrored otherwise."""
    split_seed: Annotated[int, Range(0, 2**63 - 1)] = 0
    """Which rows are held out. Independent of ``run.seed``: runs of several seeds hold out the same rows, and can be
    compared, averaged and calibrated on them."""
    fold: Annotated[int, Range(0, 10_000)] = 0
    """Which of the 1 / ``validation`` parts of Training is held out, from 0: one run a part is a cross-validation, and
    their runs are teachers for ``optim.teachers_out_of_fold``."""
    noisy_labels: Literal["keep", "weight", "drop", "relabel"] = "keep"
    """What is done with training rows whose labels FER+'s annotators do not share: "keep" them, "weight" their loss by
    ``noisy_weight``, "drop" them, or "relabel" them as more than half of the votes say, and drop those of which none
    does. Validation and test rows keep their labels. Any other than "keep" needs data.votes."""
    noisy_agreement: Annotated[float, Range(0, 1)] = 0.0
    """Largest share of FER+'s votes that a noisy label has, where votes of one annotator alone do not count; 0 is a
    label that no two of ten share, 0.2 one that two of them share."""
    noisy_weight: Annotated[float, Range(0.01, 1)] = 0.3
    """Weight of the noisy rows in the labels' loss; that of the others is 1."""
    class_weights: bool = False
    """Weight the loss inversely to class frequency (scikit-learn's "balanced")."""
    oversample: bool = False
    """Draw minority classes as often as the largest one; augmentation makes the repeats differ."""
    bootstrap: bool = False
    """Train on rows that are drawn from the training part with replacement, by ``run.seed``: a member for bagging."""
    augment: bool = True
    """Switches all of the following."""
    flip: bool = True
    """Mirror an image every other time that it is seen, within an epoch and from one to the next."""
    rotation: Annotated[float, Range(0, 180)] = 12.0
    """Largest rotation in degrees."""
    scale: Annotated[float, Range(0, 1)] = 0.12
    """Largest relative change of scale; 0.12 is 0.88 to 1.12."""
    scale_up: Annotated[float | None, Range(0, 1)] = None
    """Largest relative growth, where it differs from the largest shrinking, ``scale``: for faces that are cropped more
    tightly than the training images."""
    shift: Annotated[float, Range(0, 1)] = 0.10
    """Largest shift, as a fraction of the side."""
    random_crop: Annotated[int, Range(0, 1024)] = 0
    """Side in pixels of the part of each image, at its own scale, that is trained on; 0 is all of it. For networks that
    take several sizes: they are then given whole images, and with ten views crops of this side."""
    brightness: Annotated[float, Range(0, 1)] = 0.2
    """Largest additive change, as a fraction of 255."""
    contrast: Annotated[float, Range(0, 1)] = 0.2
    """Largest relative change of contrast."""
    gamma: Annotated[float, Range(0, 3)] = 0.0
    """Largest change of the gray-level curve, in powers of two of its exponent; 1 is 0.5 to 2."""
    degradation: Annotated[float, Range(0, 1)] = 0.0
    """Probability that an image is degraded: scaled down and up again, blurred, made noisy, or compressed as JPEG."""
    degradation_from: Annotated[float, Range(0, 1)] = 0.0
    """Share of the epochs before ``degradation`` and ``gamma`` begin; until then images are seen as they are."""
    random_erasing: Annotated[float, Range(0, 1)] = 0.0
    """Probability that a random square is overwritten with mid-gray (Zhong et al., 2020)."""
    random_erasing_size: Annotated[float, Range(0, 1)] = 0.3
    """Side of the erased square, as a fraction of the image's."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class ModelConfig:
    """Which network, and with which options."""

    network: str = "compact"
    """A name of ``moue networks``, "hf:<name or folder>", or "init": that of ``init``, with its options."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of that network."""
    init: str | None = None
    """What to start from: a finished run, or a shipped model ("default", "ferplus", "tiny", "googlenet", "resnet50v2",
    "vit", or a member of `full`, "full/mobile" or "full/votes"; needs moue-models). It must be of the same network. The
    rows of its last layer are mapped by the classes' names; those of new classes are initialized at random."""
    init_share: Annotated[float, Range(0, 1)] = 0.0
    """Share of the weights of ``init`` in those that the run keeps. 0.5 averages both, and so keeps most of what
    ``init`` could do and the training took away (Wortsman et al., "Robust fine-tuning of zero-shot models", 2022)."""
    backbones: tuple[str, ...] = ()
    """Trained models, as ``init`` takes them, whose features the network "concat" joins. They stay as they are, unless
    ``model.options.frozen`` is false."""

    @property
    def size(self) -> int:
        """The side that the network is fed, hence that data are read at, in pixels."""
        return int(self.options.get("size", 48))

    @property
    def color(self) -> Color:
        """The color that the network is fed, hence that data are read in."""
        return "rgb" if self.options.get("color") == "rgb" else "gray"

    def __post_init__(self) -> None:
        check_ranges(self)
        size = self.options.get("size", 48)
        if isinstance(size, bool) or not isinstance(size, int) or not 8 <= size <= 1024:
            raise UsageError(f"model.options.size must be between 8 and 1024 pixels. Got {quoted(size)} instead.")
        if self.network == "init" and self.init is None:
            raise UsageError(
                'model.network "init" is the network of model.init: set that, too, as in model.init=ferplus'
            )
        if self.init_share and self.init is None:
            raise UsageError("model.init_share is a share of model.init: set that, too, as in model.init=default")
        self._check_backbones()
        if (color := self.options.get("color", "gray")) not in ("gray", "rgb"):
            raise UsageError(f"model.options.color must be 'gray' or 'rgb'. Got {quoted(color)} instead.")

    def _check_backbones(self) -> None:
        names = self.backbones
        if not names:
            return
        if self.network != "concat" or self.init is not None:
            raise UsageError('model.backbones is for model.network "concat", without model.init.')
        if len(names) < 2:
            raise UsageError(f"model.backbones must be two models or more. Got {quoted(list(names))} instead.")
        if twice := [name for name in names if names.count(name) > 1]:
            raise UsageError(f"{twice[0]} is given twice in model.backbones.")


@dataclass(frozen=True)
class OptimConfig:
    """Optimizer, schedule, loss."""

    name: Literal["adam", "adamw", "sgd", "muon"] = "adam"
    """"sgd" has Nesterov momentum; "muon" orthogonalizes the momentum of convolutions and a transformer's matrices,
    with sgd at half the rate for the rest."""
    lr: Annotated[float, Range(0, above=True)] = 1e-3
    """Peak learning rate."""
    momentum: Annotated[float, Range(0, 1)] = 0.9
    """Of sgd."""
    weight_decay: Annotated[float, Range(0, 100)] = 0.0
    """On weights of two or more dimensions, with muon on those that it does not orthogonalize; never on biases or
    norms."""
    schedule: Literal["constant", "cosine", "onecycle", "linear"] = "constant"
    """The rate after the warm-up: constant, half a cosine down to 0, one cycle (up in the warm-up share, then down to
    near 0), or linear down to 0."""
    warmup: Annotated[float, Range(0, 1)] = 0.0
    """Share of all steps in which the rate climbs to its peak."""
    epochs: Annotated[int, Range(1, 100_000)] = 25
    """Passes over the training part; with ``run.minutes`` the most there will be."""
    steps: Annotated[int | None, Range(1, 10**9)] = None
    """Steps of an epoch at most; None is the whole training part."""
    batch_size: Annotated[int, Range(2, 65_536)] = 64
    """Images of a step; batch normalization needs two."""
    keep: Literal["last", "best"] = "best"
    """Which epoch's weights the run keeps: its last, or the best on validation."""
    label_smoothing: Annotated[float, Range(0, 0.9)] = 0.0
    """Share of each label that is spread over all classes (Szegedy et al., 2016)."""
    logit_adjustment: Annotated[float, Range(0, 2)] = 0.0
    """Adds the logarithm of each class's frequency, times this, to its logit in the loss: 1 trains for the best mean
    recall over the classes, and costs accuracy on the frequent ones (Menon et al., "Long-tail learning via logit
    adjustment", 2021, equation 10)."""
    votes_weight: Annotated[float, Range(0, 100)] = 0.0
    """Weight of a second head that learns FER+'s votes (Barsoum et al., 2016) and is dropped at the end; 0 is off, and
    any other needs data.votes."""
    teachers: tuple[str, ...] = ()
    """Models to distill: finished runs, names of ``moue models``, members of `full` ("full/votes") or ONNX files, with
    the same labels; of several, the mean of their probabilities."""
    teacher_weight: Annotated[float, Range(0, 1)] = 0.9
    """Share of the loss that comes from the teachers; the rest comes from the labels."""
    teacher_temperature: Annotated[float, Range(0.1, 100)] = 2.0
    """Temperature of both sides (Hinton et al., "Distilling the knowledge in a neural network", 2015)."""
    teacher_views: Annotated[int, Range(0, 10_000)] = 0
    """Number of views of each image whose teacher probabilities are cached: after as many epochs the same views come
    again, and the teachers need not run. 8 to 16 suffice; 0 draws new views in every epoch."""
    cached_views: Annotated[int, Range(0, 1000)] = 0
    """Number of views of each image for which the outputs of a network's frozen layers (``vit``) are cached on disk, in
    bf16: after as many epochs the same views come again, and only the trained layers run. 2 to 4 suffice; 0 is off. A
    view of ViT-B/16 takes 0.3 MB an image."""
    teachers_out_of_fold: bool = False
    """Whether each image has the probabilities of those teachers alone that held it out: for teachers that memorize
    their own training images. One of them for each ``data.fold``."""
    mixup: Annotated[float, Range(0, 100)] = 0.0
    """Alpha of the Beta distribution that mixes pairs of images (Zhang et al., 2018); 0 is off. With ``cached_views``
    it mixes what the frozen layers give for them (Verma et al., "Manifold mixup", 2019)."""
    mixup_until: Annotated[float, Range(0, 1)] = 1.0
    """Share of the epochs that mix; the last ones then see images as they are."""
    ema: Annotated[float, Range(0, 1)] = 0.0
    """Decay per step of the exponential moving average of weights that is evaluated and kept; 0 is off."""
    grad_clip: Annotated[float, Range(0, 100)] = 0.0
    """Largest norm of the gradient; 0 is off."""
    layer_decay: Annotated[float, Range(0, 1)] = 1.0
    """Factor on the rate from each layer group to the one below it, for pretrained networks."""
    trunk_lr: Annotated[float, Range(0, 1)] = 1.0
    """Factor on the rate of all layers but the last, for pretrained networks."""
    frozen_epochs: Annotated[int, Range(0, 100_000)] = 0
    """Epochs at the start that train the last layer alone, for pretrained networks."""
    patience: Annotated[int | None, Range(1, 100_000)] = None
    """Early stopping: after as many epochs without a better accuracy on validation; None trains all epochs."""
    progressive_sizes: Annotated[tuple[int, ...], Range(8, 1024, unit=" pixels")] = ()
    """Progressive input sizes: the run is divided into as many equal parts, or into its epochs where there are fewer,
    which then take the last sizes; empty is the network's own size throughout."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.teachers_out_of_fold and len(self.teachers) < 2:
            raise UsageError(
                "optim.teachers_out_of_fold needs two teachers or more, each of which held out another part of "
                f"Training (data.fold). Got optim.teachers={quoted(list(self.teachers))} instead."
            )
        if self.mixup > 0 and self.mixup_until < 1 and self.teacher_views:
            raise UsageError(
                "optim.teacher_views keeps what teachers say of mixed images, and optim.mixup_until ends mixing. "
                "Leave out one of them."
            )
        for name in ("teachers", "progressive_sizes") if self.cached_views else ():
            if getattr(self, name):
                raise UsageError(
                    f"optim.cached_views keeps what frozen layers give for an image, and optim.{name} changes what is "
                    "computed for it. Leave out one of them."
                )
        if self.name == "muon" and self.layer_decay != 1:
            raise UsageError("optim.layer_decay is for adam, adamw and sgd: muon's steps are alike in every layer.")

    def mixes_in(self, epoch: int) -> bool:
        """Whether the images of an epoch (from 0) are mixed."""
        return self.mixup > 0 and epoch < self.mixup_until * self.epochs

    def size_in(self, epoch: int, size: int) -> int:
        """The side that the images of an epoch (from 0) are scaled to; ``size``, the network's, without
        ``progressive_sizes``.
        """
        sizes = self.progressive_sizes or (size,)
        # Counted from the end: with fewer epochs than sizes, the last sizes are used.
        return sizes[len(sizes) - 1 - min(len(sizes) - 1, (self.epochs - 1 - epoch) * len(sizes) // self.epochs)]


@dataclass(frozen=True)
class RunConfig:
    """How a run is executed. Seed and minutes change the result; the rest should change its speed alone."""

    seed: Annotated[int, Range(0, 2**63 - 1)] = 0
    """Of first weights, order, augmentation and dropout."""
    minutes: Annotated[float | None, Range(0, above=True)] = None
    """Time budget: some steps are timed, and the number of epochs is set so that the whole schedule fits; it is set
    once more when the first epoch has been measured."""
    device: str = "auto"
    """"auto", "cpu", "cuda", "mps"."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """"auto" takes bf16 where the hardware multiplies it faster (CUDA of compute capability 8 on, CPUs with AMX
    or AVX512-BF16); on CPUs not for networks with strided depthwise convolutions, as effnet-lite, whose gradients torch
    computes slowly in bf16."""
    threads: Annotated[int, Range(0, 4096)] = 0
    """CPU threads; 0 lets torch choose."""
    features: str | None = None
    """Folder for what ``optim.cached_views`` keeps, for several runs of the same data, augmentation, seed and frozen
    weights; null is a folder in the run's, which is deleted when the run ends."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class Config:
    """A whole run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if self.optim.patience is not None and self.data.validation == 0:
            raise UsageError("optim.patience needs a validation part: set data.validation above 0, or leave it out.")
        if self.data.degradation_from and self.optim.cached_views:
            raise UsageError(
                "optim.cached_views keeps what frozen layers give for an image, and data.degradation_from changes "
                "images within the run. Leave out one of them."
            )
        crop = self.data.random_crop
        if crop > self.model.size:
            raise UsageError(
                f"data.random_crop must be at most {self.model.size}, the images' side. Got {quoted(crop)} instead."
            )
        if crop and self.optim.progressive_sizes:
            raise UsageError("data.random_crop and optim.progressive_sizes both set the side of images. Leave out one.")

    def degrades_in(self, epoch: int) -> bool:
        """Whether images of an epoch (from 0) may be degraded, and their gray-level curves changed."""
        return epoch >= self.data.degradation_from * self.optim.epochs

    @property
    def needs_votes(self) -> str | None:
        """The setting that needs FER+'s votes beside the labels, with the value that does not; None where none does."""
        if self.optim.votes_weight > 0:
            return "optim.votes_weight=0"
        return None if self.data.noisy_labels == "keep" else "data.noisy_labels=keep"

    def to_dict(self) -> dict[str, Any]:
        """Plain types, ready for YAML or JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Build a configuration from nested dictionaries.

        Raises:
            UsageError: for an unknown key (names the nearest one) or a value of the wrong type.
        """
        return typing.cast(Config, build(cls, values, ""))

    def override(self, settings: typing.Iterable[str] = (), changes: Mapping[str, Any] | None = None) -> Config:
        """A copy with ``section.key=value`` settings applied; values are read as YAML.

        Args:
            settings: as they are typed after ``--set``.
            changes: values as they are, by ``section.key``; they come after ``settings``.

        Raises:
            UsageError: for a setting without "=", a whole section, an unknown key or a value of the wrong type.
        """
        values = self.to_dict()
        for path, value in [*map(parse_setting, settings), *(changes or {}).items()]:
            if path in values:
                raise UsageError(f"{path} is a section, and one key of it is set at a time, as in optim.lr=3e-4.")
            *parents, key = path.split(".")
            node = values
            for parent in parents:
                node = node.setdefault(parent, {})
                if not isinstance(node, dict):
                    raise UsageError(f"{path}: {parent} holds a value, not a section.")
            node[key] = value
        return Config.from_dict(values)

    def get(self, path: str) -> Any:
        """The value of ``section.key``, or of a key below it; None where there is none."""
        node: Any = self.to_dict()
        for key in path.split("."):
            node = node.get(key) if isinstance(node, dict) else None
        return node
