"""The learning strategies, one a file."""

from strategies.acil import ACIL
from strategies.agem import AGEM
from strategies.aper import APER
from strategies.avalanche_plugin import AvalanchePlugin
from strategies.coda_prompt import CODAPrompt
from strategies.dark_experience_replay import DarkExperienceReplay
from strategies.der import DER, DERpp
from strategies.dsal import DSAL
from strategies.dual_prompt import DualPrompt
from strategies.er import ER
from strategies.er_ace import ERACE
from strategies.ewc import EWC
from strategies.fecam import FeCAM
from strategies.first_session import FirstSession
from strategies.full_fine_tune import FullFineTune
from strategies.gdumb import GDumb
from strategies.head_only import HeadOnly
from strategies.icarl import ICaRL
from strategies.klda import KLDA
from strategies.l2p import L2P
from strategies.linear_probe_then_fine_tune import LinearProbeThenFineTune
from strategies.lwf import LwF
from strategies.move_to_data import MoveToData
from strategies.nearest_mean import NearestMean
from strategies.ran_pac import RanPAC
from strategies.replay import Replay
from strategies.retrain import Retrain
from strategies.sequential_lora import SequentialLoRA
from strategies.simple_cil import SimpleCIL
from strategies.sklearn_head import SklearnHead
from strategies.slca import SLCA
from strategies.streaming_lda import StreamingLDA
from strategies.synaptic_intelligence import SynapticIntelligence
from strategies.wa import WA

__all__ = [
    "ACIL",
    "AGEM",
    "APER",
    "DER",
    "DSAL",
    "ER",
    "ERACE",
    "EWC",
    "KLDA",
    "L2P",
    "SLCA",
    "WA",
    "AvalanchePlugin",
    "CODAPrompt",
    "DERpp",
    "DarkExperienceReplay",
    "DualPrompt",
    "FeCAM",
    "FirstSession",
    "FullFineTune",
    "GDumb",
    "HeadOnly",
    "ICaRL",
    "LinearProbeThenFineTune",
    "LwF",
    "MoveToData",
    "NearestMean",
    "RanPAC",
    "Replay",
    "Retrain",
    "SequentialLoRA",
    "SimpleCIL",
    "SklearnHead",
    "StreamingLDA",
    "SynapticIntelligence",
]
