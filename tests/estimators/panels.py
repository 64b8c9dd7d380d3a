"""Published panels, small enough to be typed."""

import numpy as np

from causal_assets.estimators.event_study import EventStudy, event_study, one_adoption
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.two_way import wide_panel

# Callaway & Sant'Anna (2021), county teen employment (the did package's mpdta): log employment 2003-2007 by the year
# of the minimum wage's rise: counties, means, and covariances of the five years (upper triangle, row by row).
COUNTIES = {
    np.inf: (
        309,
        [5.65463, 5.592, 5.6048084, 5.6388963, 5.6611325],
        [2.1704937, 2.2034017, 2.2127051, 2.1862876, 2.196003, 2.2659871, 2.2658077, 2.2414187, 2.2517721, 2.2884135,
         2.2582567, 2.2673056, 2.2682837, 2.265022, 2.288373],
    ),
    2004: (
        20,
        [6.1796968, 6.1065636, 6.0594521, 6.0267044, 6.085388],
        [2.1970189, 2.2279759, 2.2878825, 2.3199534, 2.2531501, 2.2682987, 2.325693, 2.3590139, 2.2864047, 2.396683,
         2.4283709, 2.3574518, 2.4663406, 2.3906926, 2.3295945],
    ),
    2006: (
        40,
        [6.5739936, 6.5178837, 6.5279413, 6.5574346, 6.543041],
        [1.6118672, 1.5942659, 1.6207245, 1.6403218, 1.6514266, 1.5950609, 1.6239158, 1.6433525, 1.6536503, 1.6654492,
         1.6821331, 1.6943694, 1.7064323, 1.7153961, 1.7344966],
    ),
    2007: (
        131,
        [5.8429065, 5.8107831, 5.8208657, 5.8238664, 5.8200482],
        [2.2930858, 2.2966575, 2.2913348, 2.2893933, 2.2650964, 2.3174267, 2.3086926, 2.3084157, 2.2852695, 2.3257427,
         2.3185503, 2.2953291, 2.3364368, 2.3060123, 2.3008747],
    ),
}  # fmt: skip

# Goodman (2019), graduation requirements and earnings (the bacondecomp package's math_reform): mean log earnings by
# class, 1975-1994, of the states by the number of classes before their reform (20: none).
REFORMS = {
    9: (1, [10.11295, 10.14938, 10.05856, 10.10501, 10.07453, 10.09147, 10.0219, 10.14205, 10.04871, 10.14747,
            10.10034, 10.00649, 10.02419, 10.04661, 9.91474, 9.9377, 9.96187, 9.86388, 9.73915, 9.52215]),
    10: (4, [10.26327, 10.17072, 10.1477, 10.19054, 10.14726, 10.1677, 10.16734, 10.12463, 10.13945, 10.10667,
             10.12509, 10.03641, 10.03946, 9.94455, 9.97232, 9.94412, 9.8893, 9.78532, 9.72467, 9.53626]),
    11: (1, [10.27837, 10.24239, 10.23893, 10.20722, 10.27738, 10.19455, 10.15831, 10.19318, 10.16113, 9.99328,
             10.07942, 10.00381, 10.1306, 10.09207, 10.0071, 9.99606, 9.9371, 9.8531, 9.83951, 9.6272]),
    12: (9, [10.19881, 10.18173, 10.17744, 10.17532, 10.14805, 10.16165, 10.12726, 10.11515, 10.11019, 10.05219,
             10.05538, 10.05019, 10.02781, 10.00561, 9.96626, 9.93008, 9.87158, 9.83671, 9.77565, 9.56465]),
    20: (11, [10.2454, 10.23467, 10.20213, 10.22464, 10.19937, 10.18787, 10.18677, 10.18526, 10.18509, 10.13359,
              10.14339, 10.10471, 10.06198, 10.06524, 10.03313, 9.99684, 9.94371, 9.88296, 9.7996, 9.62383]),
}  # fmt: skip


def counties():
    """Outcome (500, 5), cohort (500,) and periods: counties with the published moments, so with all linear answers."""
    rng = np.random.default_rng(0)
    outcomes, cohorts = [], []
    for cohort, (n, mean, upper) in COUNTIES.items():
        cov = np.zeros((5, 5))
        cov[np.triu_indices(5)] = upper
        cov += np.triu(cov, 1).T
        draw = rng.normal(size=(n, 5))
        draw -= draw.mean(axis=0)
        white = draw @ np.linalg.inv(np.linalg.cholesky(np.cov(draw, rowvar=False))).T
        outcomes.append(mean + white @ np.linalg.cholesky(cov).T)
        cohorts.append(np.full(n, float(cohort)))
    return np.concatenate(outcomes), np.concatenate(cohorts), np.arange(2003, 2008)


def reforms():
    """Outcome and dose (26, 20): every state has its cohort's mean."""
    outcome = np.concatenate([np.tile(mean, (n, 1)) for n, mean in REFORMS.values()])
    start = np.concatenate([np.full(n, g) for g, (n, _) in REFORMS.items()])
    return outcome, (np.arange(20) >= start[:, None]).astype(float)


def long(outcome, dose):
    """Rows y, d, unit, period of a wide panel."""
    units, periods = np.indices(outcome.shape)
    return outcome.ravel(), dose.ravel(), units.ravel(), periods.ravel()


def event_study_rows(y, d, unit, period) -> EventStudy:
    """The event study of rows; the warehouse gives its moments instead."""
    wide, doses = wide_panel(y, d, unit, period)
    treated = doses.any(axis=1)
    adoption = one_adoption(doses[treated].mean(axis=0))
    differences = np.delete(wide - wide[:, [adoption - 1]], adoption - 1, axis=1)
    relative = [k - adoption for k in range(wide.shape[1]) if k != adoption - 1]
    return event_study(Moments.of(differences[~treated]), Moments.of(differences[treated]), relative)
